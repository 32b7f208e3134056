"""What the checks of all chapters share: an exercise, a verdict, and when two numbers are close."""

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


def close(answer: object, expected, tolerance: float) -> bool:
    """Whether `answer` has the shape of `expected` and differs from it by at most `tolerance` in every entry."""
    found = np.asarray(answer, dtype=float)
    return found.shape == np.shape(expected) and bool(np.all(np.abs(found - expected) <= tolerance))
