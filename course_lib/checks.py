"""Self-checks for the exercises: each says right, or gives a hint; none raises.

A check compares numbers within a tolerance that the exercise states. The expected values are computed here from first
principles or from the same data, never from the reader's answer.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Verdict:
    """What a check found; a notebook shows its sentence.

    Attributes
    ----------
    right
        True, False, or None where there is no answer yet.
    message
        One or two sentences for the reader.
    """

    right: bool | None
    message: str

    def __bool__(self) -> bool:
        return self.right is True

    def __repr__(self) -> str:
        start = {True: "Right.", False: "Not yet.", None: "No answer yet."}[self.right]
        return f"{start} {self.message}"


@dataclass(frozen=True)
class Exercise:
    """One exercise: what to hand in, how to judge it, and what to say.

    Attributes
    ----------
    asks
        What the answer should be, shown while there is none.
    judge
        Takes the answer; returns True, or a hint as a string.
    praise
        What to notice, once the answer is right.
    """

    asks: str
    judge: Callable[[object], bool | str]
    praise: str


def check(number: str, answer: object = None) -> Verdict:
    """Judge the answer to exercise `number`.

    Parameters
    ----------
    number
        Number of the exercise as printed, such as ``"1.2"``.
    answer
        The reader's answer; None (or ``...``) means that there is none yet.

    Returns
    -------
    Verdict
        Shows itself as a sentence. Never raises for a wrong answer, whatever its type.

    Raises
    ------
    ValueError
        For an exercise that does not exist.
    """
    if number not in EXERCISES:
        raise ValueError(f"there is no exercise {number!r}; the exercises are {', '.join(EXERCISES)}.")
    exercise = EXERCISES[number]
    if answer is None or answer is ...:
        return Verdict(None, exercise.asks)
    try:
        found = exercise.judge(answer)
        right = not isinstance(found, str) and bool(found)  # numpy's True is as good as Python's
    except Exception as error:
        return Verdict(False, f"{exercise.asks} Your answer could not be read ({type(error).__name__}: {error}).")
    if right:
        return Verdict(True, exercise.praise)
    return Verdict(False, found if isinstance(found, str) else exercise.asks)


def _close(answer: object, expected, tolerance: float) -> bool:
    found = np.asarray(answer, dtype=float)
    return found.shape == np.shape(expected) and bool(np.all(np.abs(found - expected) <= tolerance))


def _distances(answer: object) -> bool | str:
    a, b = np.array([8.0, 2.0, 0.0]), np.array([40.0, 0.0, 10.0])
    before = np.linalg.norm(a - b)
    if np.shape(answer) != (2,):
        return "Give two numbers, as in (1.5, 0.2): the distance of the counts, then of the normalised values."
    if not _close(answer[0], before, 0.1):
        return "The first distance is √(Σ (a − b)²) over the three genes, from the counts as they are."
    if not _close(answer[1], 1e4 * np.linalg.norm(a / a.sum() - b / b.sum()), 1.0):
        return "Divide each cell by its own sum and multiply by 10,000 before you compare: 8,000 and 8,000, …"
    return True


def _weights(answer: object) -> bool | str:
    sizes = [2000, 512, 256, 10, 256, 512, 2000]
    products = sum(a * b for a, b in itertools.pairwise(sizes))
    if _close(answer, products, 0):
        return "You have counted the matrices; each layer also has one bias for every unit it ends in."
    if _close(answer, (products + sum(sizes[1:])) / 2, 2000):
        return "That is one half of the network; count the encoder and the decoder."
    return _close(answer, products + sum(sizes[1:]), 0) or (
        "Add up (inputs + 1) · outputs over the six layers 2000-512-256-10-256-512-2000."
    )


def _least_cross_entropy(answer: object) -> bool | str:
    x = np.array([0.5, 0.25, 0.25])
    if _close(answer, -(x * np.log2(x)).sum(), 0.01):
        return "That is in bits; nats use the natural logarithm."
    return _close(answer, -(x * np.log(x)).sum(), 0.01) or (
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
