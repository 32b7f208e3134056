"""Self-checks for the exercises: each says right, or gives a hint; none raises.

A check compares numbers within a tolerance that the exercise states. The expected values are computed here from first
principles or from the same data, never from the reader's answer. The checks of each chapter are a file of their own.
"""

from course_lib.checks import (
    chapter_01,
    chapter_02,
    chapter_03,
    chapter_04,
    chapter_05,
    chapter_06,
    chapter_07,
)
from course_lib.checks.base import Exercise, Verdict

__all__ = ["EXERCISES", "Exercise", "Verdict", "check"]

EXERCISES: dict[str, Exercise] = {
    **chapter_01.EXERCISES,
    **chapter_02.EXERCISES,
    **chapter_03.EXERCISES,
    **chapter_04.EXERCISES,
    **chapter_05.EXERCISES,
    **chapter_06.EXERCISES,
    **chapter_07.EXERCISES,
}
"""Number of an exercise, as printed -> the exercise."""


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
