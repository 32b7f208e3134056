"""The normal distribution: log-density, and the KL divergences between two of them."""

import math

import torch
from torch import Tensor


def log_gaussian(x: Tensor, mu: Tensor, sigma: Tensor | float = 1.0) -> Tensor:
    """Log-density of a normal distribution.

    Parameters
    ----------
    x, mu
        Values and means, broadcastable to each other, on the same scale.
    sigma
        Standard deviation σ > 0, a number or broadcastable to `x`.

    Returns
    -------
    Tensor
        −½ ((x − μ)/σ)² − log σ − ½ log 2π, per entry, in nats.
    """
    difference = x - mu  # takes the type of μ where x holds integers
    sigma = torch.as_tensor(sigma, dtype=difference.dtype, device=difference.device)
    return -0.5 * (difference / sigma) ** 2 - torch.log(sigma) - 0.5 * math.log(2 * math.pi)


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL divergence of N(μ, diag σ²) from the standard normal N(0, I).

    Parameters
    ----------
    mu
        Means, (batch, n_latent).
    logvar
        log σ², (batch, n_latent).

    Returns
    -------
    Tensor
        ½ Σ_i (μ_i² + σ_i² − 1 − log σ_i²), (batch,), in nats.

    References
    ----------
    Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (mu**2 + torch.expm1(logvar) - logvar).sum(dim=-1)


def kl_normal(mu: Tensor, logvar: Tensor, mu_prior: Tensor, logvar_prior: Tensor) -> Tensor:
    """KL divergence of N(μ, diag σ²) from N(μ_prior, diag σ²_prior).

    Parameters
    ----------
    mu, logvar
        Mean and log variance of the first distribution, (batch, n_latent).
    mu_prior, logvar_prior
        Mean and log variance of the second, broadcastable to the first.

    Returns
    -------
    Tensor
        (batch,), in nats.
    """
    log_ratio = logvar - logvar_prior
    distance = (mu - mu_prior) ** 2 * torch.exp(-logvar_prior)
    return 0.5 * (distance + torch.expm1(log_ratio) - log_ratio).sum(dim=-1)
