"""Poisson, negative binomial and zero-inflated negative binomial, fitted to each gene by itself.

The mean of gene g in cell n is μ_ng = e_n ρ_g: a rate of the gene times the cell's exposure, which is known (as a rule,
its library size). All genes are fitted at once, and none knows of the others.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse, stats
from torch import Tensor

from course_lib.draws import negative_binomial
from course_lib.likelihoods import log_poisson, log_zinb_positive

LEAST_THETA, MOST_THETA = 1e-3, 1e4
"""Where θ is searched. Beyond the upper end no data set of ordinary size tells a negative binomial from a Poisson."""

LEAST_LOGIT, MOST_LOGIT = -16.0, 8.0
"""Where the logit of π is searched."""

MOST_STEPS, TOLERANCE = 100, 1e-7
"""When a climb ends: after so many steps, or where the next one promises less than this, in nats."""


class Fit(NamedTuple):
    """What was fitted to each gene: four arrays (n_genes,).

    Attributes
    ----------
    rate
        ρ_g, the mean count for an exposure of 1, before extra zeros.
    theta
        Inverse dispersion θ_g; infinite for a Poisson.
    pi
        π_g, the probability of an extra zero; 0 but for the zero-inflated model.
    log_likelihood
        Of all cells of the gene together, in nats.
    """

    rate: np.ndarray
    theta: np.ndarray
    pi: np.ndarray
    log_likelihood: np.ndarray

    def mean(self, exposure) -> np.ndarray:
        """Return μ, the mean before extra zeros, (n_cells, n_genes), for the exposures (n_cells,) of some cells."""
        return np.asarray(exposure, dtype=float)[:, None] * self.rate

    def zeros(self, exposure) -> np.ndarray:
        """Return the share of zeros that the model expects in each gene, (n_genes,), over cells of these exposures."""
        mu = self.mean(exposure)
        with np.errstate(invalid="ignore"):
            log_zero = np.where(np.isinf(self.theta), -mu, -self.theta * np.log1p(mu / self.theta))
        return self.pi + (1 - self.pi) * np.exp(log_zero).mean(axis=0)

    def log_probability(self, counts, exposure) -> np.ndarray:
        """Return the log-probability of counts (n_cells, n_genes) of cells of these exposures, per entry, in nats."""
        x, mu = torch.as_tensor(counts, dtype=torch.float64), torch.tensor(self.mean(exposure))
        if np.isinf(self.theta).all():
            return log_poisson(x, mu).numpy()
        return log_zinb_positive(x, mu, torch.tensor(self.theta), torch.logit(torch.tensor(self.pi))).numpy()

    def draw(self, exposure, seed: int = 0) -> np.ndarray:
        """Draw new counts from the fitted model, (n_cells, n_genes), for cells of these exposures."""
        rng, mu = np.random.default_rng(seed), self.mean(exposure)
        counts = rng.poisson(mu) if np.isinf(self.theta).all() else negative_binomial(mu, self.theta, rng)
        return np.where(rng.random(mu.shape) < self.pi, 0, counts)


class ZeroInflationTest(NamedTuple):
    """A likelihood-ratio test of π = 0 in each gene: two arrays (n_genes,).

    Attributes
    ----------
    statistic
        Twice the gain in log-likelihood of the zero-inflated over the plain negative binomial, in nats; at least 0.
    p_value
        Its probability under ½ χ²₀ + ½ χ²₁; 1 where the statistic is 0.
    """

    statistic: np.ndarray
    p_value: np.ndarray


def moments(counts, exposure=None) -> np.ndarray:
    """Estimate θ of each gene from its variance: the θ whose expected squared residuals are those that were seen.

    Parameters
    ----------
    counts
        (n_cells, n_genes), dense or sparse.
    exposure
        (n_cells,), above 0; None gives each cell the same.

    Returns
    -------
    ndarray
        Σ_n μ_n² / Σ_n [(x_n − μ_n)² − μ_n], (n_genes,); infinite where the counts vary no more than a Poisson's.

    Raises
    ------
    ValueError
        As :func:`fit`.
    """
    x, e = _checked(counts, exposure)
    mu = e[:, None] * (x.sum(axis=0) / e.sum())
    excess = ((x - mu) ** 2 - mu).sum(axis=0)
    return np.divide((mu**2).sum(axis=0), excess, out=np.full(len(excess), np.inf), where=excess > 0)


def fit(counts, exposure=None, model: str = "nb") -> Fit:
    """Fit a distribution to each gene by maximum likelihood.

    Parameters
    ----------
    counts
        (n_cells, n_genes), dense or sparse, whole and ≥ 0; each gene has a count that is not 0.
    exposure
        (n_cells,), above 0, on any scale; None gives each cell the same.
    model
        ``"poisson"``, ``"nb"`` or ``"zinb"``.

    Returns
    -------
    Fit
        Rates, θ (at most 10⁴: more looks like it and means Poisson), π and log-likelihoods.

    Raises
    ------
    ValueError
        For counts that are not a matrix of whole numbers ≥ 0, a gene without a count, exposures that are not one
        positive number per cell, or an unknown model.
    """
    x, e = _checked(counts, exposure)
    if model not in ("poisson", "nb", "zinb"):
        raise ValueError(f'model is {model!r}; choose "poisson", "nb" or "zinb".')
    rate, none = x.sum(axis=0) / e.sum(), np.zeros(x.shape[1])
    if model == "poisson":
        value = stats.poisson.logpmf(x, e[:, None] * rate).sum(axis=0)
        return Fit(rate, np.full_like(rate, np.inf), none, value)
    x_, e_ = torch.tensor(x), torch.tensor(e)[:, None]
    theta = np.clip(moments(x, e), 0.1, 100.0)
    found, value = _maximise(x_, e_, np.stack([np.log(rate), np.log(theta)]))
    nb = Fit(np.exp(found[0]), np.exp(found[1]), none, value)
    return nb if model == "nb" else _with_extra_zeros(x_, e_, nb)


def zero_inflation_test(nb: Fit, zinb: Fit) -> ZeroInflationTest:
    """Test whether the zero-inflated model gains more than chance would give it.

    π = 0 lies at the end of the range of π. Half of the time the best π is then 0 and nothing is gained; else twice the
    gain is a χ² with one degree of freedom, for many cells.

    Parameters
    ----------
    nb, zinb
        The two models fitted to the same counts.

    References
    ----------
    Self & Liang 1987, Journal of the American Statistical Association 82, 605-610, case 5.
    """
    statistic = np.maximum(0.0, 2 * (zinb.log_likelihood - nb.log_likelihood))
    return ZeroInflationTest(statistic, np.where(statistic > 0, stats.chi2(1).sf(statistic) / 2, 1.0))


def _with_extra_zeros(x: Tensor, e: Tensor, nb: Fit) -> Fit:
    """Fit the zero-inflated model, from a start with few extra zeros; keep π = 0 where nothing is gained."""
    pi = np.full_like(nb.rate, 0.03)
    start = np.stack([np.log(nb.rate / (1 - pi)), np.log(nb.theta), np.log(pi / (1 - pi))])
    found, value = _maximise(x, e, start)
    none = np.stack([np.log(nb.rate), np.log(nb.theta), np.full_like(pi, -np.inf)])
    gained = value > nb.log_likelihood + TOLERANCE
    rate, theta, odds = np.exp(np.where(gained, found, none))
    return Fit(rate, theta, odds / (1 + odds), np.where(gained, value, nb.log_likelihood))


def _log_probability(x: Tensor, e: Tensor, parameters: Tensor) -> Tensor:
    """Log-likelihood of each gene, (n_genes,), at (log ρ, log θ) or (log ρ, log θ, logit π).

    The textbook formula, in double precision: Newton's method needs second derivatives, and
    :mod:`course_lib.likelihoods` has none.
    """
    log_rate, log_theta, *logit = parameters
    theta, mu = log_theta.exp(), e * log_rate.exp()
    log_zero = -theta * torch.log1p(mu / theta)  # of no molecule at all
    log_nb = (
        torch.lgamma(x + theta)
        - torch.lgamma(theta)
        - torch.lgamma(x + 1)
        + log_zero
        + x * (torch.log(mu) - torch.log(theta + mu))
    )
    if not logit:
        return log_nb.sum(dim=0)
    log_pi, log_rest = torch.nn.functional.logsigmoid(torch.stack([logit[0], -logit[0]]))
    return torch.where(x == 0, torch.logaddexp(log_pi, log_rest + log_zero), log_rest + log_nb).sum(dim=0)


def _derivatives(x: Tensor, e: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log-likelihood (n_genes,), its gradient (n_genes, k) and its second derivatives (n_genes, k, k)."""
    parameters = parameters.detach().requires_grad_()
    value = _log_probability(x, e, parameters.T)
    (gradient,) = torch.autograd.grad(value.sum(), parameters, create_graph=True)
    rows = [torch.autograd.grad(part.sum(), parameters, retain_graph=True)[0] for part in gradient.T]
    return value.detach(), gradient.detach(), torch.stack(rows, dim=1)


def _maximise(x: Tensor, e: Tensor, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Climb by Newton's method, each gene for itself, damped where a step would lead down.

    Returns the parameters (k, n_genes) and the log-likelihood (n_genes,) there.
    """
    low = torch.tensor([-torch.inf, np.log(LEAST_THETA), LEAST_LOGIT][: len(start)])
    high = torch.tensor([torch.inf, np.log(MOST_THETA), MOST_LOGIT][: len(start)])
    here = torch.tensor(start).T.contiguous()  # (n_genes, k)
    value, gradient, curvature = _derivatives(x, e, here)
    damping = torch.full_like(value, 1e-3)
    climbing = torch.arange(len(here))
    for _ in range(MOST_STEPS):
        eigenvalues, axes = torch.linalg.eigh(curvature[climbing])
        bend = eigenvalues.abs() * (1 + damping[climbing, None]) + damping[climbing, None]
        step = (axes @ ((axes.mT @ gradient[climbing, :, None]) / bend[..., None]))[..., 0].clamp(-3, 3)
        there = torch.clamp(here[climbing] + step, low, high)
        left = ((there - here[climbing]) * gradient[climbing]).sum(dim=1).abs() > TOLERANCE
        climbing, there = climbing[left], there[left]
        if len(climbing) == 0:
            break
        new = _derivatives(x[:, climbing], e, there)
        up = new[0] >= value[climbing]
        damping[climbing] = torch.where(up, damping[climbing] / 10, damping[climbing] * 10).clamp(1e-9, 1e9)
        moved = climbing[up]
        here[moved], value[moved], gradient[moved], curvature[moved] = there[up], *(part[up] for part in new)
    return here.T.numpy(), value.numpy()


def _checked(counts, exposure) -> tuple[np.ndarray, np.ndarray]:
    """Return counts and exposures as float64 arrays, or raise a ValueError."""
    x = (counts.toarray() if sparse.issparse(counts) else np.asarray(counts)).astype(np.float64)
    if x.ndim != 2 or x.size == 0 or not np.isfinite(x).all() or (x < 0).any() or (x != np.round(x)).any():
        raise ValueError(f"counts has shape {x.shape}; give cells × genes of whole numbers ≥ 0.")
    if empty := int((x.sum(axis=0) == 0).sum()):
        raise ValueError(f"counts has {empty} gene(s) without a single count; leave them out.")
    e = np.ones(len(x)) if exposure is None else np.asarray(exposure, dtype=np.float64)
    if e.shape != (len(x),) or not (np.isfinite(e) & (e > 0)).all():
        raise ValueError(f"exposure has shape {e.shape}; give one finite number above 0 for each of {len(x)} cells.")
    return x, e
