"""Settings for every test and for the kernels that tests start: one thread, no progress bars."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("COURSE_LIB_STATIC", "1")

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture(autouse=True)
def the_formula_is_the_printed_one(request):
    """For a test that states a formula (``equations.printed``): the chapter prints the same one."""
    formula = getattr(getattr(request, "function", None), "formula", None)
    if formula is not None:
        import equations

        number = equations.equation_number(request.function.__name__)
        same = equations.normal_form(formula) == equations.normal_form(equations.PRINTED[number])
        assert same, "the printed formula changed: see to the test"
