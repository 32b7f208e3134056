"""Poisson, negative binomial and ZINB log-probabilities against 50-digit arithmetic, limits, sums and simulation."""

import itertools
import math
import shutil

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from course_lib.likelihoods import analytic, log_nb_positive, log_poisson, log_zinb_positive, stirling
from tests import count_grid

DOUBLE = {"dtype": torch.float64}
TYPES = [torch.float32, torch.float64]
# largest error of a value above −30; of any value, relative to max(|value|, 1); of a slope, relative to it; of ∂/∂θ,
# relative to the larger of its two parts, which nearly cancel at the most likely θ
LIMITS = {torch.float32: (1e-5, 1e-6, 1e-4, 2e-6), torch.float64: (1e-11, 1e-11, 1e-9, 1e-11)}


def double(*values, grad=False) -> torch.Tensor:
    return torch.tensor(values, requires_grad=grad, **DOUBLE)


def evaluate(function, x, *parameters, dtype=torch.float64):
    """Value, and the slope in each parameter, as arrays in double precision."""
    parameters = [torch.tensor(p, dtype=dtype, requires_grad=True) for p in parameters]
    value = function(torch.tensor(x, dtype=dtype), *parameters)
    slopes = torch.autograd.grad(value.sum(), parameters)
    return [tensor.detach().double().numpy() for tensor in (value, *slopes)]


def relative(ours, exact, scale=None):
    """Error relative to `scale`, or to the exact number; none where both are 0."""
    scale = np.abs(exact) if scale is None else scale
    return np.divide(np.abs(ours - exact), scale, out=np.where(ours == exact, 0.0, np.inf), where=scale != 0)


def assert_within(limits, value, exact) -> None:
    near, far = limits[:2]
    assert np.isfinite(value).all()
    error = np.abs(value - exact)
    assert error[exact > -30].max(initial=0) <= near
    assert (error / np.maximum(np.abs(exact), 1)).max() <= far


@pytest.fixture(scope="module")
def nb_grid():
    return count_grid.nb_grid()


@pytest.fixture(scope="module")
def zinb_grid():
    return count_grid.zinb_grid()


@pytest.mark.parametrize("dtype", TYPES)
class TestOverTheWholeRange:
    """μ from 1e-6 to 1e4, θ from 1e-3 to 1e6, x up to 1e5."""

    def test_negative_binomial(self, nb_grid, dtype):
        ref, limits = nb_grid, LIMITS[dtype]
        value, by_mu, by_theta = evaluate(log_nb_positive, ref.x, ref.mu, ref.theta, dtype=dtype)
        assert_within(limits, value, ref.value)
        assert relative(by_mu, ref.by_mu).max() <= limits[2]
        assert relative(by_theta, ref.by_theta).max() <= limits[2]
        scale = np.maximum(ref.theta_scale, np.abs(ref.by_theta))
        assert relative(by_theta, ref.by_theta, scale).max() <= limits[3]

    def test_zero_inflated(self, zinb_grid, dtype):
        ref, limits = zinb_grid, LIMITS[dtype]
        value, *slopes = evaluate(log_zinb_positive, ref.x, ref.mu, ref.theta, ref.zi_logits, dtype=dtype)
        assert_within(limits, value, ref.value)
        for ours, exact in zip(slopes, (ref.by_mu, ref.by_theta, ref.by_logits), strict=True):
            assert np.isfinite(ours).all()
            seen = np.abs(exact) > 1e-37  # smaller numbers have fewer digits, or none, in single precision
            assert relative(ours, exact)[seen].max() <= limits[2]
            assert np.abs(ours)[~seen].max() <= 1.1e-37

    def test_poisson(self, dtype):
        x, mu = map(np.array, zip(*itertools.product(count_grid.COUNTS, np.float32(count_grid.MU)), strict=True))
        with mpmath.workdps(60):
            exact = [float(k * mpmath.log(m) - m - mpmath.loggamma(k + 1)) for k, m in map(mpf, x, mu)]
        value, by_mu = evaluate(log_poisson, x, mu, dtype=dtype)
        assert_within(LIMITS[dtype], value, np.array(exact))
        np.testing.assert_allclose(by_mu, (x - mu.astype(float)) / mu, rtol=1e-6)

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(data=st.data())
    def test_at_any_point(self, data, dtype):
        def magnitudes(low, high):
            return data.draw(st.lists(st.floats(low, high).map(lambda k: 10.0**k), min_size=8, max_size=8))

        x = data.draw(st.lists(st.one_of(st.integers(0, 20), st.integers(0, 100_000)), min_size=8, max_size=8))
        mu, theta = magnitudes(-6, 4), magnitudes(-3, 6)
        if data.draw(st.booleans()):  # near the peak
            mu = [min(max(k, 1e-6), 1e4) * (1 + 0.3 * m / max(mu)) for k, m in zip(x, mu, strict=True)]
        ref = count_grid.reference(zip(x, mu, theta, [-np.inf] * 8, strict=True))
        value, by_mu, by_theta = evaluate(log_nb_positive, ref.x, ref.mu, ref.theta, dtype=dtype)
        assert_within(LIMITS[dtype], value, ref.value)
        assert relative(by_mu, ref.by_mu).max() <= LIMITS[dtype][2]
        scale = np.maximum(ref.theta_scale, np.abs(ref.by_theta))
        assert relative(by_theta, ref.by_theta, scale).max() <= LIMITS[dtype][3]


def mpf(*values):
    return [mpmath.mpf(float(value)) for value in values]


@pytest.mark.parametrize("dtype", TYPES)
class TestRemainders:
    def test_stirlings_remainder_and_its_slope(self, dtype):
        z = torch.tensor(np.geomspace(1e-3, 1e6, 200), dtype=dtype)
        with mpmath.workdps(40):
            points = [mpmath.mpf(v.item()) for v in z]
            half = mpmath.mpf(1) / 2
            r = [
                float(mpmath.loggamma(v) - (v - half) * mpmath.log(v) + v - mpmath.log(2 * mpmath.pi) / 2)
                for v in points
            ]
            slope = [float(mpmath.psi(0, v) - mpmath.log(v) + half / v) for v in points]
        tight = 1e-6 if dtype == torch.float32 else 1e-11
        np.testing.assert_allclose(stirling.remainder(z).numpy(), r, rtol=tight, atol=tight)
        ours, our_slope = stirling.remainder_and_slope(z)
        torch.testing.assert_close(ours, stirling.remainder(z), rtol=0, atol=0)
        np.testing.assert_allclose(our_slope.numpy(), slope, rtol=20 * tight)

    def test_values_that_need_not_climb_agree_with_those_that_may(self, dtype):
        z = torch.tensor(np.geomspace(2, 1e6, 50), dtype=dtype)
        for ours, same in zip(stirling.remainder_and_slope(z, 2), stirling.remainder_and_slope(z), strict=True):
            torch.testing.assert_close(ours, same, rtol=5e-5 if dtype == torch.float32 else 1e-9, atol=0)

    def test_deviance_term(self, dtype):
        size = np.geomspace(1e-12, 1, 120)
        e = torch.tensor(np.concatenate([size * 1e4, -size[:-1], [0.2, -0.2, 0.1999, -0.2001]]), dtype=dtype)
        with mpmath.workdps(60):
            exact = [float(mpmath.mpf(v.item()) - mpmath.log1p(v.item())) for v in e]
        ours = stirling.deviance_term(e, (e.double() + 1).to(dtype))
        np.testing.assert_allclose(ours.numpy(), exact, rtol=2e-6 if dtype == torch.float32 else 1e-14)

    def test_deviance_term_takes_its_last_digits_from_the_ratio(self, dtype):
        ratio = torch.tensor([1e-3, 1e-10, 1e-30], dtype=dtype)
        ours = stirling.deviance_term(ratio - 1, ratio)
        np.testing.assert_allclose(ours.numpy(), (ratio - 1 - ratio.log()).numpy(), rtol=1e-6)


class TestEdges:
    @pytest.mark.parametrize("dtype", TYPES)
    def test_a_mean_of_zero_makes_zero_certain_and_anything_else_impossible(self, dtype):
        value, by_mu, by_theta = evaluate(log_nb_positive, [0.0], [0.0], [3.0], dtype=dtype)
        assert (value, by_mu, by_theta) == (0, -1, 0)
        value, by_mu = evaluate(log_poisson, [0.0], [0.0], dtype=dtype)
        assert (value, by_mu) == (0, -1)
        value, by_mu, by_theta, by_logits = evaluate(log_zinb_positive, [0.0], [0.0], [3.0], [0.5], dtype=dtype)
        assert abs(value) < 1e-6 and by_theta == by_logits == 0
        assert by_mu == pytest.approx(-1 / (1 + math.exp(0.5)), rel=1e-6)
        for x in (1.0, 2.0, 50.0):
            x, zero = torch.tensor([x], dtype=dtype), torch.zeros(1, dtype=dtype)
            assert log_nb_positive(x, zero, 3.0) == log_poisson(x, zero) == -math.inf
            assert log_zinb_positive(x, zero, 3.0, 0.5) == -math.inf

    def test_no_counts_at_all(self):
        assert log_nb_positive(torch.zeros(0, 5), torch.ones(0, 5), torch.ones(5)).shape == (0, 5)

    def test_an_infinite_logit_is_certainty(self):
        x, mu = double(0, 1, 7), double(2, 2, 2)
        nb = log_nb_positive(x, mu, 3.0)
        torch.testing.assert_close(log_zinb_positive(x, mu, 3.0, -math.inf), nb, rtol=1e-14, atol=0)
        assert log_zinb_positive(x, mu, 3.0, math.inf).tolist() == [0, -math.inf, -math.inf]


class TestLimits:
    x = torch.tensor([0.0, 1, 2, 5, 40, 1000], **DOUBLE)
    mu = torch.tensor([[0.01], [3.0], [900.0]], **DOUBLE)

    def test_large_theta_is_poisson(self):
        poisson = log_poisson(self.x, self.mu)
        torch.testing.assert_close(log_nb_positive(self.x, self.mu, 1e12), poisson, rtol=1e-6, atol=1e-6)
        single = log_nb_positive(self.x.float(), self.mu.float(), 1e12)
        torch.testing.assert_close(single.double(), poisson, rtol=1e-6, atol=1e-6)

    def test_few_extra_zeros_is_the_negative_binomial(self):
        nb = log_nb_positive(self.x, self.mu, 2.0)
        torch.testing.assert_close(log_zinb_positive(self.x, self.mu, 2.0, -40.0), nb, rtol=1e-12, atol=1e-12)

    def test_the_textbook_formula_where_it_is_good(self):
        x, mu, theta = np.meshgrid([0, 1, 2, 7, 30], [0.1, 2.0, 20.0], [0.3, 2.0, 15.0])
        ours = log_nb_positive(*map(torch.tensor, (x, mu, theta)))
        np.testing.assert_allclose(ours, stats.nbinom.logpmf(x, theta, theta / (theta + mu)), rtol=1e-10)
        np.testing.assert_allclose(log_poisson(*map(torch.tensor, (x, mu))), stats.poisson.logpmf(x, mu), rtol=1e-10)


@pytest.mark.parametrize(("mu", "theta", "pi"), [(0.3, 0.5, 0.2), (10.0, 5.0, 0.7), (100.0, 0.5, 0.1), (4.0, 1e5, 0.5)])
class TestAsADistribution:
    x = torch.arange(20_000, **DOUBLE)

    def test_sums_to_one_and_has_its_mean_and_variance(self, mu, theta, pi):
        logit = math.log(pi / (1 - pi))
        spread = mu + mu**2 / theta
        inflated = (1 - pi) * (spread + mu**2) - ((1 - pi) * mu) ** 2
        for log_p, mean, variance in (
            (log_poisson(self.x, double(mu)), mu, mu),
            (log_nb_positive(self.x, double(mu), theta), mu, spread),
            (log_zinb_positive(self.x, double(mu), theta, logit), (1 - pi) * mu, inflated),
        ):
            p = log_p.exp()
            assert p.sum().item() == pytest.approx(1, rel=1e-10)
            assert (p * self.x).sum().item() == pytest.approx(mean, rel=1e-8)
            assert (p * self.x**2).sum().item() - mean**2 == pytest.approx(variance, rel=1e-8)

    def test_sums_to_one_in_single_precision(self, mu, theta, pi):
        p = log_nb_positive(self.x.float(), torch.tensor(mu), theta).double().exp()
        assert p.sum().item() == pytest.approx(1, rel=1e-5)

    def test_is_the_frequency_of_simulated_counts(self, mu, theta, pi):
        rng, n = np.random.default_rng(0), 200_000
        counts = rng.poisson(rng.gamma(theta, mu / theta, n)) * (rng.random(n) > pi)
        seen = np.bincount(counts, minlength=41)[:41]
        p = log_zinb_positive(self.x[:41], double(mu), theta, math.log(pi / (1 - pi))).exp().numpy()
        common = n * p > 20
        assert common.sum() > 2
        assert (np.abs(seen - n * p)[common] < 4.5 * np.sqrt(n * p * (1 - p))[common]).all()


class TestGradients:
    x = torch.tensor([[0.0, 1, 2, 3, 40], [5, 0, 0, 1, 700]], **DOUBLE)

    def parameters(self):
        rng = torch.Generator().manual_seed(0)
        mu = torch.exp(1.5 * torch.randn(2, 5, generator=rng, **DOUBLE))
        theta = torch.exp(1.5 * torch.randn(5, generator=rng, **DOUBLE))
        logits = torch.randn(2, 1, generator=rng, **DOUBLE)
        return [tensor.requires_grad_() for tensor in (mu, theta, logits)]

    def test_are_those_of_the_values(self):
        mu, theta, logits = self.parameters()
        assert torch.autograd.gradcheck(lambda *p: log_zinb_positive(self.x, *p), (mu, theta, logits))
        assert torch.autograd.gradcheck(lambda *p: log_nb_positive(self.x, *p), (mu, theta))
        assert torch.autograd.gradcheck(lambda mu: log_poisson(self.x, mu), (mu,))

    def test_go_where_they_are_asked_for(self):
        mu, theta, logits = self.parameters()
        both = torch.autograd.grad(log_nb_positive(self.x, mu, theta).sum(), (mu, theta))
        [alone] = torch.autograd.grad(log_nb_positive(self.x, mu.detach(), theta).sum(), theta)
        torch.testing.assert_close(alone, both[1], rtol=0, atol=0)
        log_zinb_positive(self.x, mu.detach(), theta.detach(), logits).sum().backward()
        assert logits.grad is not None and mu.grad is None

    def test_none_are_kept_without_need(self):
        with torch.no_grad():
            assert not log_nb_positive(self.x, *self.parameters()[:2]).requires_grad

    def test_second_ones_are_refused_not_wrong(self):
        mu, theta, _ = self.parameters()
        with pytest.raises(RuntimeError, match="second derivatives"):
            torch.autograd.grad(log_nb_positive(self.x, mu, theta.exp()).sum(), theta, create_graph=True)


class TestShapesAndTypes:
    def test_one_value_per_entry_of_what_is_broadcast(self):
        x, mu, theta, logits = torch.ones(7, 1, 3), torch.ones(4, 1), torch.ones(3), torch.zeros(())
        assert log_poisson(x, mu).shape == (7, 4, 3)
        mu.requires_grad_(), theta.requires_grad_(), logits.requires_grad_()
        value = log_zinb_positive(x, mu, theta, logits)
        assert value.shape == (7, 4, 3)
        value.sum().backward()
        assert (mu.grad.shape, theta.grad.shape, logits.grad.shape) == ((4, 1), (3,), ())

    def test_pieces_have_the_values_of_the_whole(self, monkeypatch):
        rng = torch.Generator().manual_seed(0)
        mu = torch.exp(torch.randn(50, 40, generator=rng))
        x, theta = torch.poisson(mu, generator=rng), torch.exp(torch.randn(40, generator=rng))
        whole = evaluate(log_nb_positive, x.numpy(), mu.numpy(), theta.numpy(), dtype=torch.float32)
        for block in (1, 41, 130):
            monkeypatch.setattr(analytic, "BLOCK", block)
            pieces = evaluate(log_nb_positive, x.numpy(), mu.numpy(), theta.numpy(), dtype=torch.float32)
            for ours, same in zip(pieces, whole, strict=True):
                np.testing.assert_allclose(ours, same, rtol=1e-5, atol=1e-5)

    def test_numbers_and_whole_numbers_are_taken(self):
        x = torch.tensor([0, 1, 9])
        assert log_nb_positive(x, 2.0, 3.0).dtype == torch.float32
        expected = log_nb_positive(x.double(), double(2.0), double(3.0))
        torch.testing.assert_close(log_nb_positive(x, double(2.0), 3), expected)
        torch.testing.assert_close(log_nb_positive(x, 2.0, 3.0).double(), expected, rtol=1e-6, atol=1e-6)
        assert log_nb_positive(x, torch.tensor(2.0), double(3.0)).dtype == torch.float64


class TestErrors:
    @pytest.mark.parametrize("wrong", [-1.0, 0.5, math.nan, math.inf])
    @pytest.mark.parametrize(
        "call",
        [
            lambda x: log_poisson(x, torch.ones(3)),
            lambda x: log_nb_positive(x, torch.ones(3), 1.0),
            lambda x: log_zinb_positive(x, torch.ones(3), 1.0, 0.0),
        ],
    )
    def test_what_is_no_count_is_named(self, call, wrong):
        with pytest.raises(
            ValueError, match=rf"^x must hold counts.* 1 entries .* such as {wrong:g}\. Pass raw counts"
        ):
            call(torch.tensor([0.0, wrong, 2.0]))

    @pytest.mark.parametrize("wrong", [-0.1, math.nan])
    def test_what_is_no_mean_is_named(self, wrong):
        with pytest.raises(ValueError, match=rf"^mu must hold means.* such as {wrong:g}"):
            log_poisson(torch.ones(2), torch.tensor([1.0, wrong]))

    @pytest.mark.parametrize("wrong", [0.0, -0.7, math.nan])
    def test_what_is_no_inverse_dispersion_is_named(self, wrong):
        with pytest.raises(ValueError, match=rf"^theta must hold .* such as {wrong:g}.*theta\.exp\(\)"):
            log_nb_positive(torch.ones(2), torch.ones(2), torch.tensor([1.0, wrong]))

    def test_checks_can_be_switched_off(self):
        log_nb_positive(torch.tensor([-1.0, 0.5]), torch.ones(2), 1.0, validate=False)


def compiled_agrees(backend: str) -> None:
    rng = torch.Generator().manual_seed(0)
    mu = torch.exp(torch.randn(6, 5, generator=rng))
    x, theta, logits = torch.poisson(mu, generator=rng), torch.exp(torch.randn(5, generator=rng)), torch.zeros(6, 1)
    torch._dynamo.reset()
    compiled = torch.compile(log_zinb_positive, backend=backend, fullgraph=True)
    arguments = [tensor.numpy() for tensor in (x, mu, theta, logits)]
    for ours, eager in zip(
        evaluate(compiled, *arguments, dtype=torch.float32),
        evaluate(log_zinb_positive, *arguments, dtype=torch.float32),
        strict=True,
    ):
        np.testing.assert_allclose(ours, eager, rtol=1e-5, atol=1e-6)


class TestCompiled:
    def test_is_one_graph_with_the_same_values_and_slopes(self):
        compiled_agrees("aot_eager")

    @pytest.mark.slow
    @pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="needs a C++ compiler")
    def test_is_the_same_after_compiling(self):
        compiled_agrees("inductor")
