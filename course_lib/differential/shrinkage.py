"""Empirical-Bayes shrinkage: what all genes together say about each of them."""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from course_lib.arguments import require_positive

N_WIDTHS = 20
"""Widths of the prior's components, beside that of 0."""

NULL_WEIGHT = 10.0
"""Genes without an effect that the prior is told of beforehand, as in Stephens' software: it errs towards no effect."""

TINY = 1e-300


class Shrunk(NamedTuple):
    """Posterior of each gene's effect: a mixture of normals, component 0 of which is a point at `shift`.

    Attributes
    ----------
    shift
        m: the effect that genes have which did not change.
    prior
        (n_components,): prior probability of each component.
    weights, mean, sd
        (n_genes, n_components): posterior probability, mean and standard deviation of each component; sd is 0 for
        component 0.
    """

    shift: float
    prior: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    sd: np.ndarray

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the posterior mean and standard deviation, each (n_genes,)."""
        mean = (self.weights * self.mean).sum(axis=1)
        variance = (self.weights * (self.sd**2 + (self.mean - mean[:, None]) ** 2)).sum(axis=1)
        return mean, np.sqrt(variance)

    def changed(self) -> np.ndarray:
        """Return the probability that the effect is another than `shift`, (n_genes,)."""
        return self.weights[:, 1:].sum(axis=1)

    def beyond(self, delta: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the probabilities of ∣effect∣ > `delta` and of ∣effect∣ ≤ `delta`, each (n_genes,).

        Both are sums of tails, so that either may be as small as it is: neither is 1 minus the other.
        """
        distance, sd = np.abs(self.mean), np.maximum(self.sd, TINY)
        far = norm.cdf(-(delta + distance) / sd)
        outside = norm.cdf((distance - delta) / sd) + far
        inside = norm.cdf((delta - distance) / sd) - far
        return (self.weights * outside).sum(axis=1), (self.weights * inside).sum(axis=1)

    def wrong_sign(self) -> np.ndarray:
        """Return the local false sign rate, (n_genes,): the probability that the better guess of a sign is wrong.

        The sign is that of the effect minus `shift`, and an effect of exactly `shift` makes either guess wrong.
        """
        distance = (self.mean[:, 1:] - self.shift) / self.sd[:, 1:]
        up, down = ((self.weights[:, 1:] * norm.cdf(side)).sum(axis=1) for side in (distance, -distance))
        return self.weights[:, 0] + np.minimum(up, down)


def shrink(estimate: np.ndarray, error: np.ndarray, *, tolerance: float = 1e-5, max_steps: int = 1000) -> Shrunk:
    """Estimate the distribution of effects over genes from noisy estimates, and each gene's posterior under it.

    A gene's estimate is its effect plus noise, b_g ~ N(β_g, s_g²), and the effects have the prior

        β_g ~ π_0 · point at m  +  Σ_k π_k · N(m, τ_k²),     k = 1 … 20

    with widths τ_k on a fixed grid, from a tenth of the least s_g to twice what the estimates spread. The weights π and
    the shift m are found by the EM algorithm. Where most genes did not change, π_0 is large and estimates that their
    noise can explain shrink to m; those that it cannot stay where they are.

    Parameters
    ----------
    estimate, error
        b_g and its standard error s_g, each (n_genes,), on one scale.
    tolerance, max_steps
        The EM algorithm stops when no weight and not m moves by more, or after so many steps.

    Returns
    -------
    Shrunk

    Raises
    ------
    ValueError
        For shapes that differ, no gene, estimates that are not finite, or errors that are not above 0.

    References
    ----------
    Stephens 2017, doi:10.1093/biostatistics/kxw041. There m is 0; proportions that are renormalised shift all
    together, so m is estimated here.
    """
    b, s = np.asarray(estimate, dtype=np.float64), np.asarray(error, dtype=np.float64)
    if b.ndim != 1 or b.shape != s.shape or len(b) == 0:
        raise ValueError(f"estimate and error have shapes {b.shape} and {s.shape}; give one of each for every gene.")
    if not (np.isfinite(b).all() and np.isfinite(s).all() and (s > 0).all()):
        raise ValueError("estimate and error must be finite, and each error above 0.")
    require_positive("tolerance", tolerance)

    widest = 2 * np.sqrt(max(np.max((b - np.median(b)) ** 2 - s**2), s.min() ** 2))
    tau = np.r_[0.0, np.geomspace(s.min() / 10, widest, N_WIDTHS)]
    told = np.r_[NULL_WEIGHT - 1, np.zeros(N_WIDTHS)]
    variance = s[:, None] ** 2 + tau**2
    m, prior = np.median(b), np.full(len(tau), 1 / len(tau))
    for _ in range(max_steps):
        weights = _responsibilities(b - m, variance, prior)
        counted = weights.sum(axis=0) + told
        precision = weights / variance
        new_m, new_prior = (precision.sum(axis=1) @ b) / precision.sum(), counted / counted.sum()
        moved = max(np.abs(new_prior - prior).max(), abs(new_m - m))
        m, prior = new_m, new_prior
        if moved < tolerance:
            break
    weights = _responsibilities(b - m, variance, prior)
    mean = m + (b - m)[:, None] * tau**2 / variance
    return Shrunk(float(m), prior, weights, mean, np.sqrt(s[:, None] ** 2 * tau**2 / variance))


def _responsibilities(residual: np.ndarray, variance: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Probability of each component given the estimate, (n_genes, n_components)."""
    log_density = -0.5 * residual[:, None] ** 2 / variance - 0.5 * np.log(variance)
    weights = prior * np.exp(log_density - log_density.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
