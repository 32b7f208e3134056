"""Log-probabilities of counts: Poisson, negative binomial, and its zero-inflated form.

The textbook formula of the negative binomial subtracts large numbers that nearly cancel. Here it is written as what is
left of them, in Stirling's remainder r and the deviance term h of :mod:`course_lib.likelihoods.stirling`: the
log-probability at μ = x, minus what the distance of μ from x costs::

    log NB(x; μ, θ) = log NB(x; x, θ) − D                                               (N1)
    log NB(x; x, θ) = ½ log(θ / (2π x (x + θ))) + r(x + θ) − r(θ) − r(x)                (N2)
    D = x h(e) + θ h(f),   e = θ (μ − x) / (x (μ + θ)),   f = (x − μ) / (μ + θ)         (N3)

(N2) is the textbook formula at μ = x, with (S1) for each log Γ. D is half the deviance, and neither of its terms is
negative. The textbook formula gives it as −x log(1 + e) − θ log(1 + f), as 1 + e = μ (x + θ) / (x (μ + θ)) and
1 + f = (x + θ) / (μ + θ); and x e + θ f = 0, so that h may stand for each −log. For x of 0 and 1, Γ(x + θ) / Γ(θ) is
1 and θ, and nothing has to be approximated; with f = −μ / (μ + θ), log(1 + μ/θ) is h(f) − f::

    log NB(x; μ, θ) = x log μ − (x + θ) log(1 + μ/θ)                                    (N4)

The slopes, again without differences of large numbers, each with the f of its formula::

    ∂/∂μ = (x − μ) / μ · θ / (μ + θ)                                                    (N5)
    ∂/∂θ = x / (2θ (x + θ)) + r′(x + θ) − r′(θ) − h(f)                                  (N6)
    ∂/∂θ = x μ / (θ (μ + θ)) − h(f)                        for x = 0 and 1              (N7)

As θ grows, f and r(x + θ) − r(θ) go to 0 and e to (μ − x) / x, which leaves the Poisson distribution::

    log Poisson(x; μ) = −½ log(2π x) − r(x) − x h((μ − x) / x)                          (P1)

Measured against 40-digit arithmetic for μ from 1e-6 to 1e4, θ from 1e-3 to 1e6 and x up to 1e5 (``make bench``), the
values are exact to 1e-5 nats in single precision wherever they are above −30, and to 1e-6 of their size elsewhere.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.likelihoods.analytic import Analytic
from course_lib.likelihoods.stirling import deviance_term, remainder, remainder_and_slope


def log_poisson(x: Tensor, mu: Tensor, *, validate: bool = True) -> Tensor:
    """Log-probability of a Poisson count with mean μ.

    Parameters
    ----------
    x
        Counts 0, 1, 2, …, broadcastable to `mu`; no gradient flows into them.
    mu
        Mean μ ≥ 0, counts.
    validate
        Whether to check the arguments (not done in compiled code); a model need not, once its counts are checked.

    Returns
    -------
    Tensor
        x log μ − μ − log x!, per entry, in nats.

    Raises
    ------
    ValueError
        For counts that are negative or not whole, or a mean that is negative or NaN.
    """
    x, mu = _one_type(x, mu)
    if validate:
        _check(x, mu=mu)
    return Analytic.apply(_poisson_few, _poisson_many, x, mu)


def log_nb_positive(x: Tensor, mu: Tensor, theta: Tensor | float, *, validate: bool = True) -> Tensor:
    """Log-probability of a negative binomial count with mean μ and variance μ + μ²/θ.

    Parameters
    ----------
    x
        Counts 0, 1, 2, …, (..., n_genes); no gradient flows into them.
    mu
        Mean μ ≥ 0, counts, broadcastable to `x`.
    theta
        Inverse dispersion θ > 0 (not its logarithm), broadcastable to `x`: (n_genes,) for one of each gene.
    validate
        Whether to check the arguments (not done in compiled code); a model need not, once its counts are checked.

    Returns
    -------
    Tensor
        log Γ(x + θ) − log Γ(θ) − log x! + θ log(θ/(θ + μ)) + x log(μ/(θ + μ)), per entry, in nats.

    Raises
    ------
    ValueError
        For counts that are negative or not whole, a mean that is negative or NaN, or a θ that is not above 0.
    """
    x, mu, theta = _one_type(x, mu, theta)
    if validate:
        _check(x, mu=mu, theta=theta)
    constant = theta.detach()
    return Analytic.apply(_nb_few, _nb_many, x, mu, theta, *remainder_and_slope(constant))


def log_zinb_positive(
    x: Tensor, mu: Tensor, theta: Tensor | float, zi_logits: Tensor | float, *, validate: bool = True
) -> Tensor:
    """Log-probability of a zero-inflated negative binomial count: with probability π a zero, else a draw from the NB.

    Parameters
    ----------
    x, mu, theta, validate
        As in :func:`log_nb_positive`; μ is the mean of the NB, and that of the mixture is (1 − π) μ.
    zi_logits
        log(π / (1 − π)), the logit of the probability of an extra zero, broadcastable to `x`.

    Returns
    -------
    Tensor
        log(π [x = 0] + (1 − π) NB(x; μ, θ)), per entry, in nats.

    Raises
    ------
    ValueError
        As in :func:`log_nb_positive`.
    """
    log_nb = log_nb_positive(x, mu, theta, validate=validate)
    x, log_nb, zi_logits = _one_type(x, log_nb, zi_logits)
    return Analytic.apply(_zero_inflated, None, x, log_nb, zi_logits)


def _one_type(x: Tensor, *parameters: Tensor | float) -> list[Tensor]:
    """Give counts and parameters one floating-point type: double where a parameter has it, else single."""
    dtype = torch.float32
    for parameter in parameters:
        if isinstance(parameter, Tensor):
            dtype = torch.promote_types(dtype, parameter.dtype)
    numbers = [p if isinstance(p, Tensor) else torch.as_tensor(p, dtype=dtype, device=x.device) for p in parameters]
    return [tensor.to(dtype) for tensor in (x, *numbers)]


def _check(x: Tensor, mu: Tensor, theta: Tensor | None = None) -> None:
    """Raise a ValueError for what cannot be counts, means or inverse dispersions."""
    if torch.compiler.is_compiling():
        return
    if not torch.equal(x, x.floor().clamp(min=0, max=torch.finfo(x.dtype).max)):
        wrong = x[~((x >= 0) & (x == x.floor()) & x.isfinite())]
        raise ValueError(
            f"x must hold counts 0, 1, 2, …, and has {wrong.numel()} entries that are negative, not whole or not "
            f"finite, such as {wrong[0].item():g}. Pass raw counts, not normalised values or logarithms."
        )
    if not torch.equal(mu, mu.clamp(min=0)):
        wrong = mu[~(mu >= 0)]
        raise ValueError(
            f"mu must hold means of counts, 0 or more, and has {wrong.numel()} entries that are negative or NaN, such "
            f"as {wrong[0].item():g}. A softmax times the library size, exp or softplus gives values that are allowed."
        )
    if theta is not None and not bool((theta > 0).all()):
        wrong = theta[~(theta > 0)]
        raise ValueError(
            f"theta must hold inverse dispersions above 0, and has {wrong.numel()} entries that are not, such as "
            f"{wrong[0].item():g}. If it is a logarithm, pass theta.exp()."
        )


def _above_zero(x: Tensor, mu: Tensor) -> Tensor:
    """μ, and μ + 1 where x = 0: x log μ is then 0, and (x − μ)/μ is −1, at μ = 0 too."""
    return mu + (1 - x).clamp(min=0)


def _poisson_few(slopes: bool, x: Tensor, mu: Tensor) -> list[Tensor]:
    """Log-probability and ∂/∂μ, for x of 0 and 1, whose factorial is 1."""
    positive = _above_zero(x, mu)
    value = x * torch.log(positive) - mu
    return [value, (x - positive) / positive] if slopes else [value]


def _poisson_many(slopes: bool, x: Tensor, mu: Tensor) -> list[Tensor]:
    """Log-probability by (P1) and ∂/∂μ, for x of 2 and more."""
    peak = -0.5 * torch.log(2 * math.pi * x) - remainder(x, at_least=2)
    value = peak - x * deviance_term((mu - x) / x, mu / x)
    return [value, (x - mu) / mu] if slopes else [value]


def _nb_few(slopes: bool, x: Tensor, mu: Tensor, theta: Tensor, *_: Tensor) -> list[Tensor]:
    """Log-probability by (N4), ∂/∂μ by (N5) and ∂/∂θ by (N7), for x of 0 and 1."""
    positive, total = _above_zero(x, mu), mu + theta
    share, f = theta / total, -mu / total
    h_f = deviance_term(f, share)
    value = x * torch.log(positive) - (x + theta) * (h_f - f)
    if not slopes:
        return [value]
    return [value, (x - positive) / positive * share, -x * f / theta - h_f]


def _nb_many(slopes: bool, x: Tensor, mu: Tensor, theta: Tensor, r_theta: Tensor, slope_theta: Tensor) -> list[Tensor]:
    """Log-probability by (N1) to (N3), ∂/∂μ by (N5) and ∂/∂θ by (N6), for x of 2 and more."""
    total, up = mu + theta, x + theta
    share = theta / total
    r_up, slope_up = remainder_and_slope(up, at_least=2)
    peak = 0.5 * torch.log(theta / up / (2 * math.pi * x)) + r_up - r_theta - remainder(x, at_least=2)
    h_e = deviance_term(share * (mu - x) / x, mu / total * up / x)
    h_f = deviance_term((x - mu) / total, up / total)
    value = peak - x * h_e - theta * h_f
    if not slopes:
        return [value]
    return [value, (x - mu) / mu * share, x / (2 * theta * up) + slope_up - slope_theta - h_f]


def _zero_inflated(slopes: bool, x: Tensor, log_nb: Tensor, zi_logits: Tensor) -> list[Tensor]:
    """Log-probability, and its slopes in that of the NB and in the logit of π.

    At 0 it is the log-sum-exp of log π and log(1 − π) + log NB(0). Each share of that sum, given a zero, is the
    probability that the zero is extra, or counted; the slopes are made of them, with no 1 − (nearly 1) in it.
    """
    zero = x == 0
    log_extra, log_counted = F.logsigmoid(zi_logits), F.logsigmoid(-zi_logits) + log_nb
    value = torch.where(zero, torch.logaddexp(log_extra, log_counted), log_counted)
    if not slopes:
        return [value]
    extra, counted = torch.exp(log_extra - value), torch.exp(log_counted - value)
    not_zero_given_nb = -torch.expm1(log_nb)
    at_zero = extra * torch.sigmoid(-zi_logits) * not_zero_given_nb
    return [value, counted, torch.where(zero, at_zero, -torch.sigmoid(zi_logits))]
