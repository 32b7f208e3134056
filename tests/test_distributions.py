"""Named distributions: their facts are those of the probabilities, and their parameters mean what the book says."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad

from course_lib.distributions import (
    FAMILIES,
    approximate_posterior,
    gamma,
    negative_binomial,
    poisson,
    posterior,
    zero_inflated_negative_binomial,
)
from course_lib.models import PPCA

K = np.arange(200_000)
COUNTS = [
    ("Poisson", {"mu": 0.4}),
    ("Poisson", {"mu": 10}),
    ("negative binomial", {"mu": 10, "theta": 5}),
    ("negative binomial", {"mu": 30, "theta": 0.4}),
    ("negative binomial", {"mu": 3, "theta": 1e5}),
    ("zero-inflated negative binomial", {"mu": 10, "theta": 5, "pi": 0.3}),
    ("zero-inflated negative binomial", {"mu": 10, "theta": 5, "pi": 0.02}),
    ("zero-inflated negative binomial", {"mu": 10, "theta": 5, "pi": 0}),
    ("zero-inflated negative binomial", {"mu": 2, "theta": 2, "pi": 0}),
    ("zero-inflated negative binomial", {"mu": 1, "theta": 0.3, "pi": 0.9}),
]
CURVES = [
    ("normal", {"mu": -1, "sigma": 0.5}),
    ("posterior", {"noise": 0.6, "observed": -1}),
    ("approximate posterior", {"mu": -1, "sigma_z": 0.5, "noise": 2, "observed": 3}),
    ("gamma", {"mu": 10, "theta": 5}),
    ("gamma", {"mu": 3, "theta": 0.7}),
]


@pytest.mark.parametrize(("name", "values"), COUNTS)
def test_over_counts_mean_and_variance_are_sums(name, values):
    law = FAMILIES[name].law(**values)
    p = law.density(K)
    mean = p @ K
    assert FAMILIES[name].counts and p.sum() == pytest.approx(1, abs=1e-9)
    assert law.mean == pytest.approx(mean, rel=1e-8)
    assert law.variance == pytest.approx(p @ (K - mean) ** 2, rel=1e-7)


@pytest.mark.parametrize(("name", "values"), CURVES)
def test_of_a_density_mean_and_variance_are_integrals(name, values):
    law = FAMILIES[name].law(**values)

    def integral(f):
        ends = (0, 1, np.inf) if name == "gamma" else (-np.inf, -1, np.inf)
        return sum(quad(lambda x: f(x) * law.density(x), *pair)[0] for pair in pairwise(ends))

    assert not FAMILIES[name].counts and integral(np.ones_like) == pytest.approx(1, abs=1e-6)
    assert law.mean == pytest.approx(integral(lambda x: x), rel=1e-6)
    assert law.variance == pytest.approx(integral(lambda x: (x - law.mean) ** 2), rel=1e-6)


@pytest.mark.parametrize(("name", "values"), COUNTS)
def test_the_most_probable_counts_are_all_those_with_the_greatest_probability(name, values):
    law = FAMILIES[name].law(**values)
    p = law.density(K[:2000])
    assert law.peaks == np.flatnonzero(np.isclose(p, p.max(), rtol=1e-9, atol=0)).tolist()


@pytest.mark.parametrize(
    ("name", "values", "peak"),
    [("normal", {"mu": -1, "sigma": 2}, -1), ("gamma", {"mu": 10, "theta": 5}, 8), ("gamma", {"mu": 3, "theta": 1}, 0)],
)
def test_a_density_is_highest_where_it_says(name, values, peak):
    law = FAMILIES[name].law(**values)
    x = np.linspace(-4, 20, 2401)
    x = x[x >= 0] if name == "gamma" else x
    assert law.peaks == [peak] and x[np.argmax(law.density(x))] == pytest.approx(peak)


@pytest.mark.parametrize("k", [0, 1, 7, 30])
def test_poisson_counts_with_gamma_rates_are_negative_binomial(k):
    """The two share μ and θ: chapter 7 draws them beside each other."""
    mixed = quad(lambda rate: stats.poisson(rate).pmf(k) * gamma(10, 2.5).density(rate), 0, 200, limit=200)[0]
    assert mixed == pytest.approx(negative_binomial(10, 2.5).density(k), rel=1e-6)


def test_a_large_inverse_dispersion_is_the_poisson_limit():
    assert negative_binomial(10, 1e8).density(K[:60]) == pytest.approx(poisson(10).density(K[:60]), rel=1e-5)


def test_an_extra_zero_replaces_a_count():
    """P(0) = π + (1 − π) NB(0), P(c) = (1 − π) NB(c)."""
    nb, zinb = negative_binomial(10, 5).density(K[:9]), zero_inflated_negative_binomial(10, 5, 0.3).density(K[:9])
    assert zinb[0] == pytest.approx(0.3 + 0.7 * nb[0]) and zinb[1:] == pytest.approx(0.7 * nb[1:])


@pytest.mark.parametrize("noise", [0.2, 1, 3])
@pytest.mark.parametrize(("mu", "sigma_z"), [(0.3, 0.8), (-2, 0.1), (0, 1)])
@pytest.mark.parametrize("observed", [1, -2.5])
def test_the_bound_and_its_gap_are_those_of_the_linear_gaussian_model(mu, sigma_z, noise, observed):
    model, x = PPCA([[1.0]], [0.0], noise), torch.tensor([[observed]], dtype=torch.float64)
    mean, variance = (torch.full((1, 1), value, dtype=torch.float64) for value in (mu, sigma_z**2))
    facts, exact = approximate_posterior(mu, sigma_z, noise, observed).facts, posterior(noise, observed).facts
    close = {"rel": 1e-9, "abs": 1e-12}
    assert facts["ELBO"] == pytest.approx(model.elbo(x, mean, variance).item(), **close)
    assert exact["log P(x)"] == pytest.approx(model.log_prob(x).item(), **close)
    assert facts["ELBO"] + facts["gap"] == pytest.approx(exact["log P(x)"], **close)
    assert facts["reconstruction"] - facts["KL"] == pytest.approx(facts["ELBO"], **close)
    assert [exact["mean"], exact["variance"]] == pytest.approx([p.item() for p in model.posterior(x)], **close)


def test_where_q_is_the_posterior_the_gap_is_zero():
    true = posterior(0.7, 1.3)
    assert approximate_posterior(true.mean, math.sqrt(true.variance), 0.7, 1.3).facts["gap"] == 0
