"""Distributions over categories, from logits: two of them, several, and counts of several with a given total."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
