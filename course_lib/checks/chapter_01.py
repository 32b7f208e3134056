"""Checks of chapter 1."""

import itertools

import numpy as np

from course_lib.checks.base import Exercise, close


def _distances(answer: object) -> bool | str:
    a, b = np.array([8.0, 2.0, 0.0]), np.array([40.0, 0.0, 10.0])
    before = np.linalg.norm(a - b)
    if np.shape(answer) != (2,):
        return "Give two numbers, as in (1.5, 0.2): the distance of the counts, then of the normalised values."
    if not close(answer[0], before, 0.1):
        return "The first distance is √(Σ (a − b)²) over the three genes, from the counts as they are."
    if not close(answer[1], 1e4 * np.linalg.norm(a / a.sum() - b / b.sum()), 1.0):
        return "Divide each cell by its own sum and multiply by 10,000 before you compare: 8,000 and 8,000, …"
    return True


def _weights(answer: object) -> bool | str:
    sizes = [2000, 512, 256, 10, 256, 512, 2000]
    products = sum(a * b for a, b in itertools.pairwise(sizes))
    if close(answer, products, 0):
        return "You have counted the matrices; each layer also has one bias for every unit it ends in."
    if close(answer, (products + sum(sizes[1:])) / 2, 2000):
        return "That is one half of the network; count the encoder and the decoder."
    return close(answer, products + sum(sizes[1:]), 0) or (
        "Add up (inputs + 1) · outputs over the six layers 2000-512-256-10-256-512-2000."
    )


def _least_cross_entropy(answer: object) -> bool | str:
    x = np.array([0.5, 0.25, 0.25])
    if close(answer, -(x * np.log2(x)).sum(), 0.01):
        return "That is in bits; nats use the natural logarithm."
    return close(answer, -(x * np.log(x)).sum(), 0.01) or (
        "Which x̂ comes closest to x? Put that one into the formula; the result is not 0."
    )


def _nothing_to_find(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers: R² on the training cells, then on the held-out cells."
    training, held_out = map(float, answer)
    if not np.isfinite([training, held_out]).all():
        return "One of the two is NaN or infinite: look for an empty cell or a diverged run."
    if held_out > 0.03:
        return (
            "R² above 0 on held-out cells that are all alike? Check fold=1, and that no held-out cell was trained on."
        )
    if training > 1 or training < held_out:
        return "On its own training cells a network does not do worse than on others; are the two the right way round?"
    return True


def _thinning(answer: object) -> bool | str:
    if not callable(answer):
        return "Hand in the function itself, as in answer = thin, without calling it."
    x = np.tile([0, 1, 10, 100], (2000, 1))
    first, again, other = np.asarray(answer(x, 0.3, 0)), np.asarray(answer(x, 0.3, 0)), np.asarray(answer(x, 0.3, 1))
    if first.shape != x.shape:
        return f"The result has shape {first.shape}; it should have that of x, {x.shape}."
    if np.any(first != np.round(first)) or np.any(first < 0) or np.any(first > x):
        return "Molecules are whole, and no more of them can be kept than there were."
    if not np.array_equal(first, again) or np.array_equal(first, other):
        return "The same seed must give the same result, and another seed another one: use np.random.default_rng(seed)."
    deviation = np.sqrt(100 * 0.3 * 0.7)
    if abs(first[:, 3].mean() - 30) > 5 * deviation / np.sqrt(2000):
        return "Of 100 molecules and keep = 0.3, about 30 should stay on average."
    if abs(first[:, 3].std() - deviation) > 0.5:
        return "The mean is right and the spread is not: decide for each molecule on its own (a binomial draw)."
    return True


EXERCISES: dict[str, Exercise] = {
    "1.1": Exercise(
        asks="Give two numbers: the distance of the counts and the distance after normalising.",
        judge=_distances,
        praise="The first gene differed by depth alone; the other two differ in composition.",
    ),
    "1.2": Exercise(
        asks="Give one whole number: all weights and biases of the encoder and the decoder.",
        judge=_weights,
        praise="Nearly all of them touch the genes: the first and the last layer hold nine in ten.",
    ),
    "1.3": Exercise(
        asks="Give one number, in nats.",
        judge=_least_cross_entropy,
        praise="It is the entropy of x, and a constant: it moves no gradient.",
    ),
    "1.4": Exercise(
        asks="Give two numbers: R² on the training cells and on the held-out cells.",
        judge=_nothing_to_find,
        praise="Above 0 on training cells, not on held-out ones: all of it was learnt by heart.",
    ),
    "1.5": Exercise(
        asks="Define thin(x, keep, seed) and hand in the function.",
        judge=_thinning,
        praise="Train on one pile and predict the other: now you can choose d on real cells.",
    ),
}
