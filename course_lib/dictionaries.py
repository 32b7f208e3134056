"""Dictionaries: data made of known features, how much of a dictionary was found, and what its features stand for."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from course_lib.arguments import whole


class Superposition(NamedTuple):
    """Data in which more features than dimensions are mixed, with their truth.

    Attributes
    ----------
    x
        (n_samples, n_dimensions): what a model sees, `activations` times the transposed `dictionary`.
    activations
        (n_samples, n_features), ≥ 0: how strongly each feature is present; 0 for most.
    dictionary
        (n_dimensions, n_features): the direction of each feature, a column of length 1.
    """

    x: np.ndarray
    activations: np.ndarray
    dictionary: np.ndarray


def superposition(
    n_samples: int, n_dimensions: int, n_features: int, *, probability: float = 0.05, seed: int = 0
) -> Superposition:
    """Simulate sparse features in superposition.

    Each feature has a random direction. It is present in a sample with the same probability, independently of the
    others, and then with a strength that is uniform between 0.5 and 1.5.

    Parameters
    ----------
    n_samples, n_dimensions, n_features
        Sizes; superposition means more features than dimensions.
    probability
        Probability that a feature is present, above 0 and at most 1.
    seed
        Seed of the generator.

    Returns
    -------
    Superposition
        Data and truth, float64.

    Raises
    ------
    ValueError
        For sizes below 1, or a probability out of range.

    References
    ----------
    Elhage et al. 2022, "Toy Models of Superposition", arXiv:2209.10652, on why sparse features can share dimensions.
    """
    sizes = {"n_samples": n_samples, "n_dimensions": n_dimensions, "n_features": n_features}
    n_samples, n_dimensions, n_features = (whole(name, size, 1) for name, size in sizes.items())
    if not 0 < probability <= 1:
        raise ValueError(f"probability is {probability}; a feature is present with 0 < probability ≤ 1.")
    rng = np.random.default_rng(seed)
    dictionary = rng.normal(size=(n_dimensions, n_features))
    dictionary /= np.linalg.norm(dictionary, axis=0)
    present = rng.random((n_samples, n_features)) < probability
    activations = np.where(present, rng.uniform(0.5, 1.5, present.shape), 0.0)
    return Superposition(activations @ dictionary.T, activations, dictionary)


class Match(NamedTuple):
    """Which learnt column stands for which true one.

    Attributes
    ----------
    cosine
        (n_true,): |cosine| between each true column and the learnt one assigned to it; 0 where there was none left.
    column
        (n_true,): index of the learnt column, −1 where there was none left.
    """

    cosine: np.ndarray
    column: np.ndarray


def match(learnt: np.ndarray, truth: np.ndarray) -> Match:
    """Assign a learnt column to each true one, none of them twice, so that the sum of |cosine| is largest.

    Parameters
    ----------
    learnt
        (n_dimensions, n_learnt): columns of any length and sign; one of length 0 has cosine 0 with all.
    truth
        (n_dimensions, n_true).

    Returns
    -------
    Match
        Its ``cosine.mean()`` is the matching score: 1 where every true direction was found. Many random columns match a
        little by chance, so compare with those.

    Raises
    ------
    ValueError
        For matrices with another number of rows, or values that are not finite.
    """
    learnt, truth = np.asarray(learnt, dtype=float), np.asarray(truth, dtype=float)
    if learnt.ndim != 2 or truth.ndim != 2 or len(learnt) != len(truth):
        raise ValueError(f"learnt has shape {learnt.shape}, truth {truth.shape}; give columns of one length.")
    if not (np.isfinite(learnt).all() and np.isfinite(truth).all()):
        raise ValueError("learnt or truth has NaN or infinite values.")
    similar = np.abs(_unit(truth).T @ _unit(learnt))
    rows, columns = linear_sum_assignment(similar, maximize=True)
    found = Match(np.zeros(truth.shape[1]), np.full(truth.shape[1], -1))
    found.cosine[rows], found.column[rows] = similar[rows, columns], columns
    return found


class Detector(NamedTuple):
    """The feature that finds a label best on training cells.

    Attributes
    ----------
    feature, threshold
        A cell is called where this feature is above this threshold.
    f1
        F1 on the cells that it was chosen on: too good, since it was the best of many.
    """

    feature: int
    threshold: float
    f1: float

    def score(self, z: np.ndarray, positive: np.ndarray) -> float:
        """F1 of the calls on other cells: `z` (n_cells, n_latent), `positive` (n_cells,) booleans."""
        called, positive = np.asarray(z)[:, self.feature] > self.threshold, np.asarray(positive, dtype=bool)
        return float(2 * (called & positive).sum() / max(called.sum() + positive.sum(), 1))


def best_detector(z: np.ndarray, positive: np.ndarray) -> Detector:
    """Search all features and all thresholds for the highest F1.

    Parameters
    ----------
    z
        (n_cells, n_latent): activations.
    positive
        (n_cells,): True for the cells to be found.

    Returns
    -------
    Detector
        With ``feature``, ``threshold`` and ``f1`` = 2 TP / (2 TP + FP + FN). A threshold lies in the middle between two
        values that occur, so that equal cells are always called together; or below all.

    Raises
    ------
    ValueError
        For another number of cells in `positive`, values that are not finite, or no cell to be found.
    """
    z, positive = np.asarray(z, dtype=float), np.asarray(positive, dtype=bool)
    if z.ndim != 2 or positive.shape != z.shape[:1] or not np.isfinite(z).all():
        raise ValueError(f"z has shape {z.shape}, positive {positive.shape}; give finite numbers, one boolean per row.")
    if not positive.any():
        raise ValueError("positive has no True: there is no cell to be found.")
    order = np.argsort(-z, axis=0, kind="stable")
    falling = np.take_along_axis(z, order, axis=0)
    called = np.arange(1, len(z) + 1)[:, None]
    f1 = 2 * np.cumsum(positive[order], axis=0) / (called + positive.sum())
    below = np.vstack([falling[1:], falling[-1:] - 1])  # the next smaller value
    f1[falling == below] = 0  # a threshold cannot part equal values
    last, feature = np.unravel_index(np.argmax(f1), f1.shape)
    threshold = (falling[last, feature] + below[last, feature]) / 2
    return Detector(int(feature), float(threshold), float(f1[last, feature]))


def _unit(columns: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(columns, axis=0)
    return columns / np.where(length > 0, length, 1)
