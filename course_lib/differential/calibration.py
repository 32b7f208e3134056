"""From probabilities to decisions, and whether the probabilities deserve it."""

import numpy as np
import pandas as pd
from scipy import stats

from course_lib.arguments import whole


def expected_fdr(prob_de: np.ndarray) -> np.ndarray:
    """Return, for each gene, the false discovery rate to expect of the list that ends with it.

    The list holds the gene and all with a probability at least as high. A gene on it is a false discovery with
    probability 1 − p, so that their average over the list is what one expects. To call all genes whose value is at most
    0.05 is to claim that five in a hundred of the calls are wrong: true if, and only if, the probabilities are.

    Parameters
    ----------
    prob_de
        (n_genes,): posterior probability that the gene is one.

    Returns
    -------
    ndarray
        (n_genes,), in the order of `prob_de`.

    Raises
    ------
    ValueError
        For values that are no probabilities.

    References
    ----------
    Newton, Noueiry, Sarkar & Ahlquist 2004, doi:10.1093/biostatistics/5.2.155; for models of cells, Boyeau et al. 2023,
    doi:10.1073/pnas.2209124120.
    """
    p = _probabilities(prob_de)
    order = np.argsort(-p, kind="stable")
    running = np.cumsum(1 - p[order]) / np.arange(1, len(p) + 1)
    return running[stats.rankdata(-p, method="max").astype(int) - 1]


def reliability(prob_de: np.ndarray, truth: np.ndarray, n_bins: int = 10) -> pd.DataFrame:
    """Compare probabilities with how often they came true.

    Parameters
    ----------
    prob_de
        (n_genes,): probabilities claimed.
    truth
        (n_genes,): whether it is so.
    n_bins
        Bins of equal width on [0, 1].

    Returns
    -------
    DataFrame
        A row per bin that is not empty, rising: ``n``, genes in it; ``claimed``, their mean probability; ``came_true``,
        the fraction for which it is so; ``low`` and ``high``, Wilson's 95 % interval of that fraction.

    Raises
    ------
    ValueError
        For values that are no probabilities, lengths that differ, or an `n_bins` below 1.
    """
    p, truth = _probabilities(prob_de), np.asarray(truth, dtype=bool)
    if truth.shape != p.shape:
        raise ValueError(f"prob_de and truth have shapes {p.shape} and {truth.shape}; give one of each for every gene.")
    n_bins = whole("n_bins", n_bins, 1)
    place = np.minimum((p * n_bins).astype(int), n_bins - 1)
    rows = []
    for k in np.unique(place):
        inside = place == k
        n, hits = int(inside.sum()), int(truth[inside].sum())
        low, high = stats.binomtest(hits, n).proportion_ci(method="wilson")
        rows.append({"n": n, "claimed": p[inside].mean(), "came_true": hits / n, "low": low, "high": high})
    return pd.DataFrame(rows)


def _probabilities(values) -> np.ndarray:
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 1 or len(p) == 0 or not ((p >= -1e-9) & (p <= 1 + 1e-9)).all():
        raise ValueError(f"prob_de has shape {p.shape}; give at least one value, each a probability between 0 and 1.")
    return np.clip(p, 0.0, 1.0)
