"""Fits of each gene: against SciPy's optimiser, against the truth of a simulation, and what errors say."""

import numpy as np
import pytest
from scipy import optimize, sparse, stats

from course_lib import dispersion, simulate
from course_lib.dispersion import Fit

CASES = {"mu": [0.3, 2.0, 10.0, 40.0], "theta": [0.5, 1.0, 5.0, 3.0]}


def drawn(mu, theta, n=400, pi=0.0, seed=0, depth=0.4):
    """Counts of genes with these parameters, and the exposures of their cells."""
    rng = np.random.default_rng(seed)
    exposure = rng.lognormal(0, depth, n)
    mean = exposure[:, None] * np.atleast_1d(np.asarray(mu, dtype=float))
    counts = rng.poisson(rng.gamma(np.broadcast_to(theta, mean.shape), mean / theta))
    return np.where(rng.random(mean.shape) < pi, 0, counts), exposure


def log_zinb(x, mu, theta, pi):
    """By SciPy, entry by entry."""
    nb = stats.nbinom.pmf(x, theta, theta / (theta + mu))
    return np.log(np.where(x == 0, pi, 0) + (1 - pi) * nb)


def by_scipy(x, exposure, zero_inflated: bool):
    """Greatest log-likelihood of one gene, from several starts, and its parameters."""

    def minus(parameters):
        rate, theta = np.exp(parameters[:2])
        pi = 1 / (1 + np.exp(-parameters[2])) if zero_inflated else 0.0
        return -log_zinb(x, exposure * rate, theta, pi).sum()

    best, bounds = None, [(-12, 8), (np.log(1e-3), np.log(1e4)), (-14, 6)]
    for log_theta in (-1, 1, 3):
        for logit in (-3, 0) if zero_inflated else (0,):
            start = [np.log(x.sum() / exposure.sum()), log_theta, logit][: 2 + zero_inflated]
            found = optimize.minimize(minus, start, method="Nelder-Mead", bounds=bounds[: len(start)])
            found = optimize.minimize(minus, found.x, method="L-BFGS-B", bounds=bounds[: len(start)])
            best = found if best is None or found.fun < best.fun else best
    return -best.fun, best.x


class TestFit:
    def test_it_finds_what_scipy_finds(self):
        x, exposure = drawn(**CASES, n=150)
        fit = dispersion.fit(x, exposure)
        for g in range(4):
            value, parameters = by_scipy(x[:, g], exposure, zero_inflated=False)
            assert fit.log_likelihood[g] == pytest.approx(value, abs=1e-4)
            np.testing.assert_allclose([fit.rate[g], fit.theta[g]], np.exp(parameters), rtol=5e-3)

    @pytest.mark.parametrize("pi", [0.0, 0.35])
    def test_with_extra_zeros_it_is_as_high_as_scipy_from_six_starts(self, pi):
        x, exposure = drawn(**CASES, n=150, pi=pi, seed=3)
        fit = dispersion.fit(x, exposure, "zinb")
        for g in range(4):
            assert fit.log_likelihood[g] >= by_scipy(x[:, g], exposure, zero_inflated=True)[0] - 1e-3

    def test_the_poissons_rate_is_the_share_of_the_exposure(self):
        x, exposure = drawn(**CASES)
        fit = dispersion.fit(x, exposure, "poisson")
        np.testing.assert_allclose(fit.rate, x.sum(axis=0) / exposure.sum())
        assert np.isinf(fit.theta).all() and not fit.pi.any()
        score = optimize.approx_fprime(fit.rate[:1], lambda r: stats.poisson.logpmf(x[:, 0], exposure * r).sum(), 1e-7)
        assert abs(score[0]) < 0.1

    def test_it_finds_the_dispersion_of_a_simulation(self):
        known = simulate.splatter(600, 200, group_probs=(1.0,), seed=1)
        known = known[:, known.X.toarray().mean(axis=0) > 2]
        truth, library = known.var["true_theta"].to_numpy(), known.obs["library"].to_numpy()
        x = known.X
        for found in (dispersion.fit(x, library).theta, dispersion.moments(x, library)):
            assert np.median(np.abs(np.log(found / truth))) < 0.1
        ignored = dispersion.fit(x).theta  # depth then counts as dispersion
        assert np.median(np.log(ignored / truth)) < -0.1

    def test_a_gene_is_fitted_as_if_it_were_alone(self):
        x, exposure = drawn(**CASES, n=120, pi=0.2)
        for model in ("poisson", "nb", "zinb"):
            together = dispersion.fit(x, exposure, model)
            for g in range(4):
                alone = dispersion.fit(x[:, [g]], exposure, model)
                np.testing.assert_allclose([part[g] for part in together], [part[0] for part in alone], rtol=1e-9)

    @pytest.mark.parametrize("model", ["poisson", "nb", "zinb"])
    def test_the_scale_of_the_exposures_goes_into_the_rate_alone(self, model):
        x, exposure = drawn(**CASES, n=120, pi=0.2)
        once, again = dispersion.fit(x, exposure, model), dispersion.fit(x, 1000 * exposure, model)
        np.testing.assert_allclose(again.rate, once.rate / 1000, rtol=1e-4)
        np.testing.assert_allclose(again.log_likelihood, once.log_likelihood, atol=1e-4)

    def test_counts_without_over_dispersion_reach_the_largest_theta_and_the_poissons_likelihood(self):
        x = np.tile([2, 3, 4], 40)[:, None]  # less variable than a Poisson
        fit = dispersion.fit(x)
        assert fit.theta[0] == pytest.approx(dispersion.MOST_THETA)
        assert fit.log_likelihood[0] == pytest.approx(dispersion.fit(x, model="poisson").log_likelihood[0], abs=0.1)

    def test_the_larger_model_is_never_the_less_likely(self):
        x, exposure = drawn(np.geomspace(0.05, 30, 40), 1.5, n=60)
        x = x[:, x.any(axis=0)]
        poisson, nb, zinb = (dispersion.fit(x, exposure, m).log_likelihood for m in ("poisson", "nb", "zinb"))
        assert (zinb >= nb).all() and (nb >= poisson - 0.05).all()

    def test_sparse_counts_are_as_good_as_dense_ones(self):
        x, exposure = drawn(**CASES)
        np.testing.assert_array_equal(dispersion.fit(sparse.csr_matrix(x), exposure), dispersion.fit(x, exposure))

    @pytest.mark.parametrize(
        ("counts", "exposure", "model", "words"),
        [
            ([[1, 2], [-1, 2]], None, "nb", "whole numbers ≥ 0"),
            ([[1, 2], [0.5, 2]], None, "nb", "whole numbers ≥ 0"),
            ([[1, 2], [np.nan, 2]], None, "nb", "whole numbers ≥ 0"),
            ([1, 2], None, "nb", "cells × genes"),
            ([[1, 0], [2, 0]], None, "nb", "1 gene.s. without a single count"),
            ([[1, 1], [2, 0]], [1.0], "nb", "each of 2 cells"),
            ([[1, 1], [2, 0]], [1.0, 0.0], "nb", "above 0"),
            ([[1, 1], [2, 0]], [1.0, np.inf], "nb", "finite"),
            ([[1, 1], [2, 0]], None, "normal", "'normal'; choose"),
        ],
    )
    def test_what_cannot_be_fitted_is_named(self, counts, exposure, model, words):
        with pytest.raises(ValueError, match=words):
            dispersion.fit(np.array(counts), exposure, model)
        if model == "nb":
            with pytest.raises(ValueError, match=words):
                dispersion.moments(np.array(counts), exposure)


class TestMoments:
    def test_by_hand(self):
        x = np.array([[0, 3], [8, 3], [4, 3]])
        assert dispersion.moments(x).tolist() == [3 * 16 / (32 - 12), np.inf]

    def test_known_depths_are_taken_off(self):
        x, exposure = drawn([20.0], 4.0, n=20_000, depth=0.5)
        assert dispersion.moments(x, exposure)[0] == pytest.approx(4, rel=0.05)
        assert dispersion.moments(x)[0] < 2.5


class TestFitted:
    """What a fit says about cells: means, zeros, probabilities, draws."""

    FIT = Fit(np.array([2.0, 10.0]), np.array([1.5, 5.0]), np.array([0.0, 0.4]), np.zeros(2))
    EXPOSURE = np.array([0.5, 1.0, 2.0])

    def test_zeros_are_those_of_the_probabilities(self):
        zeros = np.exp(self.FIT.log_probability(np.zeros((3, 2)), self.EXPOSURE)).mean(axis=0)
        np.testing.assert_allclose(self.FIT.zeros(self.EXPOSURE), zeros, rtol=1e-12)
        poisson = Fit(np.array([2.0]), np.array([np.inf]), np.zeros(1), np.zeros(1))
        assert poisson.zeros(self.EXPOSURE)[0] == pytest.approx(np.exp([-1, -2, -4]).mean())

    def test_probabilities_are_scipys_and_add_up_to_what_the_fit_reports(self):
        x, exposure = drawn([0.5, 6.0], [1.0, 3.0], n=80, pi=0.2)
        for model in ("poisson", "nb", "zinb"):
            fit = dispersion.fit(x, exposure, model)
            found = fit.log_probability(x, exposure)
            np.testing.assert_allclose(found.sum(axis=0), fit.log_likelihood, rtol=1e-9)
            mu = fit.mean(exposure)
            expected = stats.poisson.logpmf(x, mu) if model == "poisson" else log_zinb(x, mu, fit.theta, fit.pi)
            np.testing.assert_allclose(found, expected, rtol=1e-9)

    def test_draws_have_the_models_mean_variance_and_zeros(self):
        exposure = np.full(100_000, 1.0)
        x = self.FIT.draw(exposure, seed=2)
        mean = (1 - self.FIT.pi) * self.FIT.rate
        variance = (1 - self.FIT.pi) * (
            self.FIT.rate + self.FIT.rate**2 * (1 / self.FIT.theta + self.FIT.pi)
        )  # equation (7.13)
        np.testing.assert_allclose(x.mean(axis=0), mean, rtol=0.02)
        np.testing.assert_allclose(x.var(axis=0), variance, rtol=0.03)
        np.testing.assert_allclose((x == 0).mean(axis=0), self.FIT.zeros(exposure), atol=0.005)
        assert (x == self.FIT.draw(exposure, seed=2)).all() and (x != self.FIT.draw(exposure, seed=3)).any()

    def test_a_poissons_draws_are_poisson(self):
        poisson = Fit(np.array([4.0]), np.array([np.inf]), np.zeros(1), np.zeros(1))
        x = poisson.draw(np.ones(50_000))
        assert x.mean() == pytest.approx(4, rel=0.01) and x.var() == pytest.approx(4, rel=0.03)


class TestZeroInflation:
    @staticmethod
    def judged(x, exposure=None):
        return dispersion.zero_inflation_test(dispersion.fit(x, exposure), dispersion.fit(x, exposure, "zinb"))

    def test_half_of_the_null_is_a_point_at_0_and_the_other_half_chi_squared(self):
        x, exposure = drawn(np.full(400, 5.0), 3.0, n=300, seed=5)
        statistic, p = self.judged(x, exposure)
        assert (statistic == 0).mean() == pytest.approx(0.5, abs=0.1)
        assert (p < 0.1).mean() == pytest.approx(0.1, abs=0.04)
        np.testing.assert_allclose(p[statistic > 0], stats.chi2(1).sf(statistic[statistic > 0]) / 2)
        assert (p[statistic == 0] == 1).all() and p.min() > 0

    def test_extra_zeros_are_found_where_they_are(self):
        x, exposure = drawn(np.full(50, 8.0), 3.0, n=300, pi=np.repeat([0.0, 0.3], 25), seed=6)
        zinb, p = dispersion.fit(x, exposure, "zinb"), self.judged(x, exposure).p_value
        assert (p[25:] < 1e-6).all() and (p[:25] > 1e-3).all()
        np.testing.assert_allclose(zinb.pi[25:].mean(), 0.3, atol=0.02)

    def test_the_clusters_of_the_simulator_are_told_apart_by_their_extra_zeros(self):
        found = {}
        for pi in (0.0, 0.3):
            known = simulate.three_clusters(150, 60, mean_count=8, theta=2, zero_inflation=pi, seed=1)
            one = known[known.obs["cluster"] == "A"]
            found[pi] = np.median(self.judged(one.X, one.obs["library"].to_numpy()).p_value)
        assert found[0.3] < 0.01 < found[0.0]
