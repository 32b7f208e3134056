"""Checks of chapter 3."""

import numpy as np
import torch

from course_lib import dictionaries
from course_lib.checks.base import Exercise, close


def _bits(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers, as in (1.5, 2.5): bits of the best code, then of rounding with an entropy code."
    best = 0.5 * np.log2(9 / 0.09)
    if close(answer[0], 0.5 * np.log(9 / 0.09), 0.02):
        return "The first is in nats; bits use the logarithm to the base 2."
    if close(answer[0], 0.5 * np.log2(3 / 0.09), 0.02):
        return "3 is the standard deviation; equation (3.3) asks for the variance."
    if not close(answer[0], best, 0.02):
        return "The best code needs R(Δ) of equation (3.3), with the variance σ² = 9."
    return close(answer[1], best + 0.254, 0.02) or "Rounding costs what equation (3.5) says on top of the best code."


def _water(answer: object) -> bool | str:
    if np.shape(answer) != (3,):
        return "Give three numbers: the bits of the components with variance 4, 1 and 0.25."
    if close(sum(answer), 2.0, 0.02) and not close(answer, (1.5, 0.5, 0.0), 0.02):
        return "The sum is right; which component lies below the water?"
    return close(answer, (1.5, 0.5, 0.0), 0.02) or (
        "Guess which components lie below the water; the others share the rest of the error equally."
    )


def _price(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers: the code, then the loss."
    if close(answer[0], 1.0, 1e-6):
        return "That is the true strength; a code a little smaller has a smaller loss."
    if close(answer[0], 0.4, 1e-6):
        return "The slope of (1 − z)² is −2 (1 − z), so that it is λ/2 that is missing."
    if not close(answer[0], 0.7, 0.005):
        return "Set the derivative of (1 − z)² + 0.6 z to zero."
    return close(answer[1], 0.51, 0.005) or "The loss is the squared error and the penalty together, at your z."


def _luck(answer: object) -> bool | str:
    truth = dictionaries.superposition(1, 5, 40).dictionary
    draws = [np.random.default_rng(seed).normal(size=(5, 80)) for seed in range(10)]
    expected = float(np.mean([dictionaries.match(draw, truth).cosine.mean() for draw in draws]))
    return close(answer, expected, 0.03) or (
        "Give the mean of match(random, truth).cosine, with random (5, 80) and truth (5, 40)."
    )


def _top_k(answer: object) -> bool | str:
    if not callable(answer):
        return "Hand in the function itself, as in answer = top_k, without calling it."
    z = torch.rand(50, 12, generator=torch.Generator().manual_seed(0))
    given = z.clone()
    kept = answer(z, 3)
    if not isinstance(kept, torch.Tensor) or kept.shape != z.shape:
        return "The result is a tensor of the shape of z."
    if not torch.equal(z, given):
        return "z itself was changed; make a new tensor."
    if not torch.equal((kept != 0).sum(dim=1), torch.full((50,), 3)):
        return "In each row exactly k numbers stay, and the others are 0."
    return torch.equal(kept, torch.where(z >= z.topk(3, dim=1).values[:, -1:], z, 0.0)) or (
        "The numbers that stay are the largest of their row, unchanged and in their places."
    )


EXERCISES: dict[str, Exercise] = {
    "3.1": Exercise(
        asks="Give two numbers, in bits: the best code, and rounding with an entropy code.",
        judge=_bits,
        praise="Each bit is worth a factor of four in the error; a hundred is between three and four of them.",
    ),
    "3.2": Exercise(
        asks="Give three numbers: the bits of each component.",
        judge=_water,
        praise="The two that are sent have the same error, 0.5; the third keeps its own, 0.25.",
    ),
    "3.3": Exercise(
        asks="Give two numbers: the code and the loss.",
        judge=_price,
        praise="The true strength would cost 0.6: being wrong by 0.3 is cheaper. That is shrinkage.",
    ),
    "3.4": Exercise(
        asks="Give one number: the matching score of 80 random directions.",
        judge=_luck,
        praise="In five dimensions 0.9 is luck; in twenty it was 0.55.",
    ),
    "3.5": Exercise(
        asks="Define top_k(z, k) and hand in the function.",
        judge=_top_k,
        praise="No penalty, no shrinkage; but now every sample must have k features.",
    ),
}
