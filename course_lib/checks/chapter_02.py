"""Checks of chapter 2."""

import numpy as np

from course_lib.checks.base import Exercise, close


def _lost(answer: object) -> bool | str:
    if close(answer, 0.8, 1e-3):
        return "That is the share that the code keeps; asked is what it loses."
    if close(answer, 2, 1e-3):
        return "That is the variance lost; divide by the total, the sum of all four."
    return close(answer, 0.2, 1e-3) or "Add the eigenvalues that two axes leave out, and divide by the sum of all."


def _angles(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers, as in (10, 20): the two angles in degrees."
    if close(answer, (np.pi / 4, 0), 0.01) or close(answer, (0, np.pi / 4), 0.01):
        return "Those are radians; give degrees (np.degrees)."
    if close(answer, (45, 0), 0.5):
        return "The angles are right; put the smaller one first."
    return close(answer, (0, 45), 0.5) or (
        "The planes share a direction, so one angle is 0; compare what is at right angles to it in each plane."
    )


def _heavy_penalty(answer: object) -> bool | str:
    if np.shape(answer) != (2,):
        return "Give two numbers, as in (1.0, 0.9): the two singular values."
    if not close(answer[0], 0.5, 0.01):
        return "The first is √(1 − κ/λ₁) with λ₁ = 4 and κ = 3."
    return close(answer[1], 0.0, 0.01) or (
        "1 − κ/λ₂ is negative for λ₂ = 2: the formula holds only for eigenvalues above κ. What is left to the second?"
    )


def _ten_sigmoids(answer: object) -> bool | str:
    if close(answer, 0.25, 1e-6) or close(answer, 2.5, 1e-6):
        return "That is one unit, or a sum; by the chain rule ten slopes multiply."
    found = np.asarray(answer, dtype=float)
    near = found.shape == () and bool(np.isclose(found, 0.25**10, rtol=0.01, atol=0))
    return near or "The slope of a sigmoid is at most 1/4, where its input is 0; there are ten of them."


def _captured(answer: object) -> bool | str:
    if not callable(answer):
        return "Hand in the function itself: answer = captured."
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6)) * np.arange(1, 7)
    x -= x.mean(axis=0)
    b = rng.normal(size=(6, 2))
    found, doubled = float(answer(x, b)), float(answer(x, b @ np.array([[2.0, 1.0], [0.0, 3.0]])))
    residual = x.T - b @ np.linalg.lstsq(b, x.T, rcond=None)[0]
    expected = 1 - (residual**2).sum() / (x**2).sum()
    if not np.isclose(found, doubled, rtol=1e-6):
        return "Stretching the columns of b changes your value; take orthonormal axes of their space first."
    if np.isclose(found, 1 - expected, rtol=1e-6):
        return "That is the share that is lost; asked is the share kept."
    return bool(np.isclose(found, expected, rtol=1e-6)) or (
        "Project x on the space of b's columns, and divide the sum of squares by that of x."
    )


EXERCISES: dict[str, Exercise] = {
    "2.1": Exercise(
        asks="Give one number between 0 and 1: the share of the variance that is lost.",
        judge=_lost,
        praise="You knew it before anything was trained: that is what (2.4) is good for.",
    ),
    "2.2": Exercise(
        asks="Give two angles in degrees as a tuple, the smaller one first.",
        judge=_angles,
        praise="Principal angles compare spaces; the vectors that span them do not matter.",
    ),
    "2.3": Exercise(
        asks="Give the two singular values of the decoder as a tuple, the larger one first.",
        judge=_heavy_penalty,
        praise="The penalty chose the number of dimensions: an axis with an eigenvalue below κ is switched off.",
    ),
    "2.4": Exercise(
        asks="Give one number: the largest possible product of ten slopes.",
        judge=_ten_sigmoids,
        praise="One part in a million, after ten units whose weights are as large as 1. Small weights make it worse.",
    ),
    "2.5": Exercise(
        asks="Hand in the function: answer = captured. It takes x (n, D), centred, and b (D, d).",
        judge=_captured,
        praise="It depends on the space alone, so it can judge any linear layer. The digits are waiting.",
    ),
}
"""Number of an exercise -> the exercise."""
