"""Self-checks for the exercises: each says right, or gives a hint; none raises.

A check compares numbers within a tolerance that the exercise states. The expected values are computed here from first
principles or from the same data, never from the reader's answer.
"""

from collections.abc import Callable
from dataclasses import dataclass


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
    except Exception as error:
        return Verdict(False, f"{exercise.asks} Your answer could not be read ({type(error).__name__}: {error}).")
    return Verdict(True, exercise.praise) if found is True else Verdict(False, str(found))


EXERCISES: dict[str, Exercise] = {}
