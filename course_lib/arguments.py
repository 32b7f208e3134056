"""Settings that several modules read or check. Each error says what came and what to give."""

import os
from collections.abc import Iterable
from numbers import Real

import numpy as np


def is_whole(value: object, least: int) -> bool:
    """Whether `value` is a whole number (2 or 2.0) of at least `least`; False for text, None and NaN."""
    return isinstance(value, Real) and value >= least and value % 1 == 0


def whole(name: str, value: int, least: int) -> int:
    """Return `value` as an int, or raise a ValueError where it is no whole number of at least `least`."""
    if not is_whole(value, least):
        raise ValueError(f"{name} is {value!r}; it is a whole number, at least {least}.")
    return int(value)


def require_pair(name: str, pair, what: str, low=(-np.inf, -np.inf), high=(np.inf, np.inf)) -> None:
    """Raise a ValueError unless `pair` is two finite numbers, each in its range."""
    if np.shape(pair) != (2,) or not np.isfinite(pair).all() or np.any(np.clip(pair, low, high) != pair):
        raise ValueError(f"{name} is {pair!r}; give two finite numbers: {what}.")


def require_positive(name: str, value: float) -> None:
    """Raise a ValueError unless `value` is a finite number above 0."""
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; it must be a finite number above 0.")


def require_not_negative(name: str, value: float) -> None:
    """Raise a ValueError unless `value` is a finite number, 0 or above."""
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {value}; it must be a finite number, 0 or above.")


def switched_on(variable: str) -> bool:
    """Whether an environment variable is set, and neither empty nor 0."""
    return os.environ.get(variable, "0") not in ("", "0")


def listed(names: Iterable) -> str:
    """Return the first three of some names, for an error that is to name what it speaks of."""
    names = [str(name) for name in names]
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
