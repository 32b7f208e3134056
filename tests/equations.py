"""What the tests of equations share: the printed formulas, and how a test states the one that it evaluates."""

import re

import notebooks
import numpy as np
import torch

from course_lib.models.base import Minibatch

PRINTED = {
    number: formula
    for path in notebooks.CHAPTERS
    for number, formula in notebooks.equations(notebooks.read(path)).items()
}


def normal_form(formula: str) -> str:
    """Drop what changes the look of a formula and not its meaning: spaces, sizes of brackets, the last full stop."""
    formula = re.sub(r"\\((bigl|bigr|Bigl|Bigr|left|right|quad|qquad)(?![A-Za-z])|[,;! ])", "", formula)
    return re.sub(r"\s+", "", formula).rstrip(".,")


def printed(*formula: str):
    """State the formula that a test evaluates, as printed; the test fails where the chapter prints another one."""

    def mark(test):
        test.formula = "".join(formula)
        return test

    return mark


def equation_number(test: str) -> str:
    return test.removeprefix("test_equation_").replace("_", ".")


def minibatch(x: torch.Tensor) -> Minibatch:
    return Minibatch(x, x.sum(1, keepdim=True), torch.zeros(len(x), dtype=torch.int64))


def double(values) -> torch.Tensor:
    return torch.tensor(np.asarray(values, dtype=float))
