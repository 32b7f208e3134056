"""Log-probabilities of counts: Poisson, negative binomial and its zero-inflated form."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from course_lib.likelihoods.stirling import deviance_term, remainder, remainder_slope


def log_poisson(x: Tensor, mu: Tensor, *, validate: bool = True) -> Tensor:
    """Log-probability of a Poisson count with mean μ.

    Parameters
    ----------
    x
        Counts 0, 1, 2, …, broadcastable to `mu`; no gradient flows into them.
    mu
        Mean μ ≥ 0, counts.
    validate
        Whether to check the arguments; a model that is trained on checked counts need not.

    Returns
    -------
    Tensor
        x log μ − μ − log x!, per entry, in nats.

    Raises
    ------
    ValueError
        For counts that are negative or not whole, or a mean that is negative or NaN.
    """
    return _Poisson.apply(*_prepare(x, validate, mu=mu))


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
        Whether to check the arguments; a model that is trained on checked counts need not.

    Returns
    -------
    Tensor
        log Γ(x + θ) − log Γ(θ) − log x! + θ log(θ/(θ + μ)) + x log(μ/(θ + μ)), per entry, in nats.

    Raises
    ------
    ValueError
        For counts that are negative or not whole, a mean that is negative or NaN, or a θ that is not above 0.
    """
    return _NegativeBinomial.apply(*_prepare(x, validate, mu=mu, theta=theta))


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
    return _ZeroInflated.apply(*_prepare(x, False, log_nb=log_nb, zi_logits=zi_logits))


def _prepare(x: Tensor, validate: bool, **parameters: Tensor | float) -> tuple[Tensor, ...]:
    """Check the arguments and give them one floating-point type."""
    first = next(iter(parameters.values()))
    tensors = [
        torch.as_tensor(p, device=first.device) if isinstance(p, Tensor) else first.new_tensor(p)
        for p in parameters.values()
    ]
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    if validate and not torch.compiler.is_compiling():
        if not bool(((x >= 0) & (x == torch.floor(x))).all()):
            raise ValueError("x must hold counts 0, 1, 2, …")
        for name, tensor in parameters.items():
            low = tensor > 0 if name == "theta" else tensor >= 0
            if not bool(torch.as_tensor(low).all()):
                raise ValueError(f"{name}")
    return x.to(dtype), *(tensor.to(dtype) for tensor in tensors)


class _Poisson(Function):
    @staticmethod
    def forward(x, mu):
        k = x.clamp(min=1)
        peak = -0.5 * torch.log(2 * math.pi * k) - remainder(k)
        return torch.where(x == 0, -mu, peak - k * deviance_term((k - mu) / k, mu / k))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        x, mu = ctx.saved_tensors
        return None, (gradient * _relative(x, mu)).sum_to_size(mu.shape)


def _relative(x, mu):
    return torch.where(x == 0, -1.0, (x - mu) / mu)


class _NegativeBinomial(Function):
    @staticmethod
    def forward(x, mu, theta):
        k, total = x.clamp(min=2), mu + theta
        up, excess = k + theta, k - mu
        many = (theta / up).div_(2 * math.pi * k).log_().mul_(0.5)
        many.add_(remainder(up, 2)).sub_(remainder(theta)).sub_(remainder(k, 2))
        many.sub_(k * deviance_term((theta / total).mul_(excess).div_(k), (mu / total).mul_(up).div_(k)))
        many.sub_(theta * deviance_term(-excess / total, up / total))
        few = torch.xlogy(x, mu) - (x + theta) * torch.log1p(mu / theta)
        return torch.where(x > 1, many, few)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        x, mu, theta = ctx.saved_tensors
        _, needs_mu, needs_theta = ctx.needs_input_grad
        slope_mu = slope_theta = None
        if needs_mu:
            slope_mu = (gradient * _relative(x, mu) * (theta / (mu + theta))).sum_to_size(mu.shape)
        if needs_theta:
            slope_theta = (gradient * _theta_slope(x, mu, theta)).sum_to_size(theta.shape)
        return None, slope_mu, slope_theta


def _theta_slope(x, mu, theta):
    many = (x > 1).to(x.dtype)
    k, few = x * many, x * (1 - many)
    up, total = k + theta, mu + theta
    high = x.clamp(min=2) + theta
    curve = many * (k / (2 * theta * up) + remainder_slope(high, 2) - remainder_slope(theta))
    return curve + few * mu / (theta * total) - deviance_term((mu - k) / total, up / total)


class _ZeroInflated(Function):
    @staticmethod
    def forward(x, log_nb, zi_logits):
        counted = F.logsigmoid(-zi_logits) + log_nb
        return torch.where(x == 0, torch.logaddexp(F.logsigmoid(zi_logits), counted), counted)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx, gradient):
        x, log_nb, zi_logits, log_p = ctx.saved_tensors
        zero = x == 0
        counted = torch.exp(F.logsigmoid(-zi_logits) + log_nb - log_p)
        extra = torch.exp(F.logsigmoid(zi_logits) - log_p)
        slope_nb = torch.where(zero, counted, 1.0)
        slope_logits = torch.where(
            zero, -extra * torch.sigmoid(-zi_logits) * torch.expm1(log_nb), -torch.sigmoid(zi_logits)
        )
        return (
            None,
            (gradient * slope_nb).sum_to_size(log_nb.shape),
            (gradient * slope_logits).sum_to_size(zi_logits.shape),
        )
