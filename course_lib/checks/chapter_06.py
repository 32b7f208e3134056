"""Checks of chapter 6."""

import numpy as np
import torch

from course_lib.checks.base import Exercise, close


def _gradients(answer: object) -> bool | str:
    if np.shape(answer) != (3,):
        return "Give three numbers: path to μ, score function to μ, path to log σ²."
    path, score, to_logvar = np.asarray(answer, dtype=float)
    if not close(path, -3.0, 0.01):
        return "The path to μ is 2 z, with z = μ + σ ε."
    if close(score, -2.25, 0.01) or close(score, -0.5625, 0.01):
        return "The score is (z − μ)/σ² = ε/σ: one factor of σ remains."
    if not close(score, -1.125, 0.01):
        return "The score function gradient is the value f(z) times ε/σ; no derivative of f is in it."
    if close(to_logvar, 6.0, 0.01) or close(to_logvar, 1.5, 0.01):
        return "σ = exp(½ log σ²), so that its derivative is ½ σ."
    return close(to_logvar, 3.0, 0.01) or "The path to log σ² is 2 z · ε · ∂σ/∂(log σ²)."


def _sharing(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers: standard deviations with noise of their own, and with shared noise."
    own, shared = np.asarray(answer, dtype=float)
    if close(own, 0.0625, 0.001):
        return "These are variances; the standard deviation is the root."
    if not close(own, 0.25, 0.003):
        return "Of independent terms, the variance of the mean is that of one term divided by B."
    return close(shared, (67 / 64) ** 0.5, 0.005) or "Put v = 4, c = 1 and B = 64 into equation (6.11)."


def _constant(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers: the best b, and the variance relative to the path's."
    b, ratio = np.asarray(answer, dtype=float)
    if close(b, 16.0, 0.3):
        return "That is the mean of f; the variance of (f − b) ε is a parabola in b with its minimum elsewhere."
    if not close(b, 18.0, 0.5):
        return "Set the derivative of E[(f − b)² ε²] with respect to b to zero."
    if close(ratio, 56.0, 1.5):
        return "That is the variance itself; the path's is 4."
    return close(ratio, 14.0, 0.4) or "Put your b into the variance, and divide by 4."


def _exponential(answer: object) -> bool | str:
    if not callable(answer):
        return "Hand in the function itself, as in answer = draw, without calling it."
    rate = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    z = answer(rate, u)
    if not isinstance(z, torch.Tensor) or z.shape != u.shape:
        return "The result is a tensor with one draw for each number of u."
    if not z.requires_grad:
        return "The draws have forgotten the rate: compute them from rate and u with torch, and do not sample."
    expected = -torch.log1p(-u) / rate
    if not torch.allclose(z.sort().values, expected, rtol=1e-6):
        return "Solve u = 1 − exp(−rate · z) for z."
    (gradient,) = torch.autograd.grad(z.sum(), rate)
    (exact,) = torch.autograd.grad(expected.sum(), rate)
    return torch.allclose(gradient, exact) or "The draws are right and their gradient is not."


def _enumeration(answer: object) -> bool | str:
    if not callable(answer):
        return "Hand in the function itself, as in answer = elbo, without calling it."
    generator = torch.Generator().manual_seed(0)
    logits, log_joint = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    logits.requires_grad_()
    found = answer(logits, log_joint)
    if not isinstance(found, torch.Tensor) or found.shape != (6,):
        return "The result is a tensor with one number for each cell, (batch,)."
    log_q = torch.log_softmax(logits, dim=1)
    expected = (log_q.exp() * (log_joint - log_q)).sum(dim=1)
    if torch.allclose(found, -expected):
        return "That is minus the ELBO."
    if torch.allclose(found, (log_q.exp() * log_joint).sum(dim=1)):
        return "The entropy of q is missing: take log q off log p(x, k)."
    if not torch.allclose(found, expected):
        return "Sum q · (log p(x, k) − log q) over the classes, with q the softmax of the logits."
    if not found.requires_grad:
        return "The values are right, and no gradient passes to the logits."
    sure = torch.tensor([[0.0, -2000.0, -2000.0, -2000.0]], dtype=torch.float64)
    return bool(torch.isfinite(answer(sure, log_joint[:1])).all()) or (
        "For a q that is certain the result is not finite: take log_softmax in place of the logarithm of a softmax."
    )


EXERCISES: dict[str, Exercise] = {
    "6.1": Exercise(
        asks="Give three numbers: path to μ, score function to μ, path to log σ².",
        judge=_gradients,
        praise="Two unbiased answers to one question, −3 and −1.125; the exact one is 1. One draw is only one draw.",
    ),
    "6.2": Exercise(
        asks="Give two numbers: standard deviations with noise of their own, and with shared noise.",
        judge=_sharing,
        praise="The shared part does not average out, however many cells there are.",
    ),
    "6.3": Exercise(
        asks="Give two numbers: the best constant b, and the variance relative to the path's.",
        judge=_constant,
        praise="A little better than the mean of f, and still far from the path.",
    ),
    "6.4": Exercise(
        asks="Define draw(rate, u) and hand in the function.",
        judge=_exponential,
        praise="Any distribution whose distribution function can be inverted has a path like this.",
    ),
    "6.5": Exercise(
        asks="Define elbo(logits, log_joint) and hand in the function.",
        judge=_enumeration,
        praise="Exact, without a draw, and its gradient is exact too.",
    ),
}
