"""Checks of chapter 5."""

import math

import numpy as np
import torch

from course_lib.checks.base import Exercise, close


def _divergence(answer: object) -> bool | str:
    parts = np.array([0.5, 0.5 * (math.exp(-2) - 1 + 2)])
    if close(answer, parts.mean(), 0.005):
        return "That is the mean over the two dimensions; the divergence of the code is their sum."
    if close(answer, 0.5 + 0.5 * (math.exp(-4) - 1 + 4), 0.005):
        return "logvar is log σ², so the variance is exp(logvar) and its logarithm logvar, without a factor 2."
    if close(answer, 2 * parts.sum(), 0.005):
        return "The ½ in front is missing."
    return close(answer, parts.sum(), 0.005) or "Equation (5.12) for each dimension, then the sum."


def _bound(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers, as in (-2.0, 0.5): the ELBO, then the gap."
    elbo, evidence = -0.5 * math.log(2 * math.pi) - 2.5, -0.5 * math.log(4 * math.pi) - 1
    if close(answer[0], elbo + 0.5, 0.005):
        return "The mean of (x − z)² over q is not x²: z varies too, with variance 1."
    if not close(answer[0], elbo, 0.005):
        return "KL from the prior is 0 here, so the ELBO is the mean of log N(x; z, 1) over z ~ N(0, 1)."
    if close(answer[1], elbo - evidence, 0.005):
        return "The gap is log P(x) minus the ELBO, and so not negative."
    return close(answer[1], evidence - elbo, 0.005) or "P(x) is N(0, 2): its variance is that of z plus the noise."


def _weight(answer: object) -> bool | str:
    if close(answer, 500, 0.5):
        return "The divergence is averaged over latent dimensions here, too."
    if close(answer, 31.25, 0.05):
        return "Half of it: the Gaussian likelihood has ½ before the squared error."
    if close(answer, 0.064, 0.0005):
        return "The other way round: how much more does the divergence weigh than it should?"
    return close(answer, 15.625, 0.05) or "Multiply the loss until its first term is half the sum over genes."


def _active(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers, as in (4, 2.5): how many are active, and the divergence in nats."
    if close(answer[0], 3, 0):
        return "Three eigenvalues are above σ²; the threshold with a weight β is β σ²."
    if not close(answer[0], 2, 0):
        return "Count the eigenvalues above β σ² = 2."
    if close(answer[1], 0.5 * math.log(15), 0.005):
        return "The divergence has the threshold in its logarithm, β σ² and not σ²."
    return close(answer[1], 0.5 * math.log(5 / 2 * 3 / 2), 0.005) or "Equation (5.20) with β σ² in the place of σ²."


def _tighter(answer: object) -> bool | str:
    if not callable(answer):
        return "Hand in the function itself, as in answer = bound, without calling it."
    generator = torch.Generator().manual_seed(0)
    log_r = torch.randn(7, 20, generator=generator, dtype=torch.float64) - 2
    found = answer(log_r)
    if not isinstance(found, torch.Tensor) or found.shape != (20,):
        return "The result is a tensor with one value for each cell, (n_cells,)."
    wanted = log_r.exp().mean(dim=0).log()
    if torch.allclose(found, wanted + math.log(7)):
        return "That is the logarithm of the sum; the bound has the mean, so log K is to be taken off."
    if torch.allclose(found, log_r.mean(dim=0)):
        return "That is the mean of the logarithms, the ELBO; the mean over draws is inside the logarithm."
    if not torch.allclose(found, wanted):
        return "For each cell: the logarithm of the mean over the K draws of exp(log_r)."
    far = torch.stack([answer(log_r.float() + shift) for shift in (-900.0, 900.0)])
    return bool(torch.isfinite(far).all()) or "With ratios of e^−900 it is not finite; torch.logsumexp is."


EXERCISES: dict[str, Exercise] = {
    "5.1": Exercise(
        asks="Give one number, in nats.",
        judge=_divergence,
        praise="To be one standard deviation off costs half a nat, and so, nearly, does a width of e⁻¹.",
    ),
    "5.2": Exercise(
        asks="Give two numbers, in nats: the ELBO and the gap.",
        judge=_bound,
        praise="The bound lacks 1.15 nats, the divergence of N(0, 1) from the posterior N(1, ½).",
    ),
    "5.3": Exercise(
        asks="Give one number: the weight of the divergence against a Gaussian likelihood with σ = 1.",
        judge=_weight,
        praise="Far from 64,000, and still not the ELBO; what matters is to know it.",
    ),
    "5.4": Exercise(
        asks="Give two numbers: how many are active, and the divergence in nats.",
        judge=_active,
        praise="Known before a single step of training, for a linear VAE; for a network it is a first guess.",
    ),
    "5.5": Exercise(
        asks="Define bound(log_r) and hand in the function.",
        judge=_tighter,
        praise="With K = 1 it is the ELBO, and it only rises with K.",
    ),
}
