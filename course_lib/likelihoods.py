"""Log-probabilities and divergences, in nats.

A likelihood returns one value per entry, so that the caller chooses what to sum: over genes for a cell, over cells for
a data set. Constants stay in, so that values compare with other libraries. The multinomial is the exception that its
definition asks for: its entries are not independent, and it returns one value per cell.
"""

import math

import torch
import torch.nn.functional as F
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


def log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """Log-probability of a binary variable, from the logit of its probability.

    For x in {0, 1} this is a likelihood. For x between 0 and 1 it is still minus the binary cross-entropy, a usable
    loss, but no longer the logarithm of a density over [0, 1].

    Parameters
    ----------
    x
        Values in [0, 1].
    logits
        log(p / (1 − p)), broadcastable to `x`.

    Returns
    -------
    Tensor
        x log p + (1 − x) log(1 − p), per entry, in nats.
    """
    return x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)


def log_categorical(x: Tensor, logits: Tensor) -> Tensor:
    """Terms x_g log p_g of a categorical log-probability with p = softmax(logits).

    Summed over the last axis: for one-hot `x` the log-probability of the chosen category; for proportions `x` (summing
    to 1) minus the cross-entropy between `x` and p.

    Parameters
    ----------
    x
        One-hot vectors or proportions, (..., n_genes).
    logits
        Unnormalised log-probabilities, (..., n_genes).

    Returns
    -------
    Tensor
        x_g log p_g, (..., n_genes), in nats.
    """
    return x * F.log_softmax(logits, dim=-1)


def log_multinomial(x: Tensor, logits: Tensor) -> Tensor:
    """Log-probability of a vector of counts given its total, with p = softmax(logits).

    With n = Σ_g x_g, this is n times minus the cross-entropy between x / n and p, plus a constant in p.

    Parameters
    ----------
    x
        Counts, (..., n_genes).
    logits
        Unnormalised log-probabilities, (..., n_genes).

    Returns
    -------
    Tensor
        log n! − Σ_g log x_g! + Σ_g x_g log p_g, (...,): one value per cell, in nats.
    """
    ways = torch.lgamma(x.sum(dim=-1) + 1) - torch.lgamma(x + 1).sum(dim=-1)
    return ways + log_categorical(x, logits).sum(dim=-1)


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
