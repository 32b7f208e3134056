"""Log-probabilities and divergences against torch.distributions, scipy, closed forms and Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import log_softmax
from torch import distributions

from course_lib import likelihoods

some = settings(max_examples=50, deadline=None, derandomize=True)
DOUBLE = {"dtype": torch.float64}


def numbers(low: float, high: float):
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


def double(*values, grad=False) -> torch.Tensor:
    return torch.tensor(values, requires_grad=grad, **DOUBLE)


def assert_close(ours: torch.Tensor, theirs, rtol=1e-10, atol=1e-10) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), np.asarray(theirs), rtol=rtol, atol=atol)


class TestGaussian:
    @given(x=numbers(-1e3, 1e3), mu=numbers(-1e3, 1e3), sigma=numbers(1e-2, 1e3))
    @some
    def test_is_the_normal_log_density(self, x, mu, sigma):
        ours = likelihoods.log_gaussian(double(x), double(mu), double(sigma))
        assert_close(ours, [stats.norm.logpdf(x, mu, sigma)])
        assert_close(ours, distributions.Normal(double(mu), double(sigma)).log_prob(double(x)))

    def test_a_number_as_sigma_loses_no_precision_in_float64(self):
        assert_close(
            likelihoods.log_gaussian(double(0.3), double(0.0), 0.1), [stats.norm.logpdf(0.3, 0, 0.1)], rtol=1e-14
        )

    def test_sigma_is_one_unless_given(self):
        assert_close(likelihoods.log_gaussian(double(0.3), double(0.1)), [stats.norm.logpdf(0.2)])

    def test_whole_numbers_as_values_do_not_round_sigma(self):
        ours = likelihoods.log_gaussian(torch.tensor([1, 2]), torch.tensor([1.5, 2.5]), 0.5)
        assert_close(ours, stats.norm.logpdf([1, 2], [1.5, 2.5], 0.5), rtol=1e-6)

    def test_density_integrates_to_one(self):
        x = torch.linspace(-12, 15, 20_001, **DOUBLE)
        total = torch.trapezoid(likelihoods.log_gaussian(x, double(1.5), 0.7).exp(), x)
        assert total.item() == pytest.approx(1, abs=1e-9)

    def test_squared_error_is_minus_twice_it_up_to_a_constant(self):
        x, mu = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), **DOUBLE)
        constant = -2 * likelihoods.log_gaussian(x, mu) - (x - mu) ** 2
        assert_close(constant, np.full((5, 3), math.log(2 * math.pi)))


class TestBernoulli:
    @given(x=st.sampled_from([0.0, 1.0]), logit=numbers(-30, 30))
    @some
    def test_is_the_log_probability_of_a_binary_variable(self, x, logit):
        ours = likelihoods.log_bernoulli(double(x), double(logit))
        assert_close(ours, distributions.Bernoulli(logits=double(logit)).log_prob(double(x)))
        assert_close(ours, [stats.bernoulli.logpmf(int(x), 1 / (1 + math.exp(-logit)))], rtol=1e-3)

    @given(x=numbers(0, 1), logit=numbers(-30, 30))
    @some
    def test_is_minus_the_binary_cross_entropy_for_grey_values(self, x, logit):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(double(logit), double(x), reduction="none")
        assert_close(likelihoods.log_bernoulli(double(x), double(logit)), -loss)

    @pytest.mark.parametrize("logit", [-200.0, 200.0])
    def test_extreme_logits_stay_finite_in_float32(self, logit):
        value = likelihoods.log_bernoulli(torch.tensor([0.0, 1.0]), torch.tensor([logit, logit]))
        assert sorted(value.tolist()) == [-200.0, 0.0]

    def test_probabilities_of_both_values_sum_to_one(self):
        logits = torch.linspace(-20, 20, 41, **DOUBLE)
        both = sum(likelihoods.log_bernoulli(torch.full_like(logits, x), logits).exp() for x in (0.0, 1.0))
        assert_close(both, np.ones(41))


class TestCategorical:
    @given(logits=st.lists(numbers(-50, 50), min_size=1, max_size=8), data=st.data())
    @some
    def test_one_hot_gives_the_log_probability_of_the_category(self, logits, data):
        chosen = data.draw(st.integers(0, len(logits) - 1))
        x = torch.nn.functional.one_hot(torch.tensor(chosen), len(logits)).double()
        ours = likelihoods.log_categorical(x, double(*logits)).sum()
        assert_close(ours, distributions.Categorical(logits=double(*logits)).log_prob(torch.tensor(chosen)))

    def test_proportions_give_minus_the_cross_entropy(self):
        rng = np.random.default_rng(0)
        x, logits = rng.dirichlet(np.ones(6), 4), rng.normal(size=(4, 6))
        ours = likelihoods.log_categorical(torch.tensor(x), torch.tensor(logits)).sum(1)
        cross_entropy = stats.entropy(x, axis=1) + stats.entropy(x, np.exp(log_softmax(logits, axis=1)), axis=1)
        assert_close(ours, -cross_entropy)

    def test_adding_a_constant_to_the_logits_changes_nothing(self):
        x, logits = double(0.2, 0.3, 0.5), double(1.0, -2.0, 0.5)
        assert_close(likelihoods.log_categorical(x, logits), likelihoods.log_categorical(x, logits + 7))

    def test_one_value_per_entry(self):
        assert likelihoods.log_categorical(torch.rand(3, 4, 5), torch.rand(3, 4, 5)).shape == (3, 4, 5)


class TestMultinomial:
    @given(counts=st.lists(st.integers(0, 200), min_size=2, max_size=8), data=st.data())
    @some
    def test_is_the_multinomial_log_probability(self, counts, data):
        logits = data.draw(st.lists(numbers(-5, 5), min_size=len(counts), max_size=len(counts)))
        ours = likelihoods.log_multinomial(double(*counts), double(*logits))
        p = np.exp(log_softmax(logits))
        assert_close(ours, stats.multinomial.logpmf(counts, sum(counts), p / p.sum()), rtol=1e-8, atol=1e-8)
        assert_close(
            ours, distributions.Multinomial(sum(counts), logits=double(*logits)).log_prob(double(*counts)), atol=1e-8
        )

    def test_one_value_per_cell_from_whole_or_floating_counts(self):
        counts = torch.randint(0, 9, (3, 4, 5), generator=torch.Generator().manual_seed(0))
        logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))
        whole = likelihoods.log_multinomial(counts, logits)
        assert whole.shape == (3, 4)
        torch.testing.assert_close(whole, likelihoods.log_multinomial(counts.float(), logits))

    def test_cross_entropy_on_proportions_is_it_over_depth_up_to_a_constant(self):
        rng = np.random.default_rng(0)
        counts = torch.tensor(rng.poisson(6, (5, 9)) + 1.0)
        depth = counts.sum(1, keepdim=True)
        constants = []
        for seed in range(3):
            logits = torch.tensor(np.random.default_rng(seed).normal(size=(5, 9)))
            per_count = likelihoods.log_multinomial(counts, logits) / depth.squeeze(1)
            constants.append(per_count - likelihoods.log_categorical(counts / depth, logits).sum(1))
        assert_close(constants[0], constants[1])
        assert_close(constants[0], constants[2])

    def test_probabilities_of_all_outcomes_sum_to_one(self):
        outcomes = [(a, b, 4 - a - b) for a in range(5) for b in range(5 - a)]
        logits = double(0.3, -1.0, 2.0).expand(len(outcomes), 3)
        assert likelihoods.log_multinomial(torch.tensor(outcomes, **DOUBLE), logits).exp().sum() == pytest.approx(1)


class TestKL:
    @given(mu=numbers(-50, 50), logvar=numbers(-15, 10))
    @some
    def test_standard_normal_matches_torch(self, mu, logvar):
        ours = likelihoods.kl_standard_normal(double(mu), double(logvar))
        q = distributions.Normal(double(mu), double(logvar).mul(0.5).exp())
        theirs = distributions.kl_divergence(q, distributions.Normal(double(0.0), double(1.0)))
        assert_close(ours, theirs.item())

    @given(mu=numbers(-9, 9), logvar=numbers(-8, 8), mu_prior=numbers(-9, 9), logvar_prior=numbers(-8, 8))
    @some
    def test_two_normals_match_torch(self, mu, logvar, mu_prior, logvar_prior):
        ours = likelihoods.kl_normal(double(mu), double(logvar), double(mu_prior), double(logvar_prior))
        q = distributions.Normal(double(mu), double(logvar).mul(0.5).exp())
        p = distributions.Normal(double(mu_prior), double(logvar_prior).mul(0.5).exp())
        assert_close(ours, distributions.kl_divergence(q, p).item(), rtol=1e-8)

    @given(mu=numbers(-9, 9), logvar=numbers(-8, 8))
    @some
    def test_is_zero_from_itself_and_never_negative(self, mu, logvar):
        assert likelihoods.kl_normal(double(mu), double(logvar), double(mu), double(logvar)).item() == 0
        assert likelihoods.kl_standard_normal(double(mu), double(logvar)).item() >= 0

    def test_standard_normal_is_the_special_case_of_two_normals(self):
        mu, logvar = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), **DOUBLE)
        zero = torch.zeros(4, **DOUBLE)
        assert_close(likelihoods.kl_standard_normal(mu, logvar), likelihoods.kl_normal(mu, logvar, zero, zero))

    def test_sums_over_latents_to_one_value_per_cell(self):
        mu, logvar = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), **DOUBLE)
        per_latent = [likelihoods.kl_standard_normal(mu[:, [i]], logvar[:, [i]]) for i in range(4)]
        assert likelihoods.kl_standard_normal(mu, logvar).shape == (6,)
        assert_close(likelihoods.kl_standard_normal(mu, logvar), sum(per_latent))

    @pytest.mark.parametrize("logvar", [1e-3, -1e-3, 1e-4, -1e-4])
    def test_small_log_variance_keeps_its_digits_in_float32(self, logvar):
        series = 0.5 * (logvar**2 / 2 + logvar**3 / 6 + logvar**4 / 24)  # ½ (exp(l) − 1 − l)
        zero = torch.zeros(1)
        assert likelihoods.kl_standard_normal(zero, torch.tensor([logvar])).item() == pytest.approx(series, rel=5e-3)
        assert likelihoods.kl_normal(zero, torch.tensor([logvar]), zero, zero).item() == pytest.approx(series, rel=5e-3)

    def test_is_the_expected_log_ratio_of_densities(self):
        mu, logvar = double(0.7), double(-0.6)
        sigma = (0.5 * logvar).exp()
        z = mu + sigma * torch.randn(200_000, generator=torch.Generator().manual_seed(0), **DOUBLE)
        ratio = likelihoods.log_gaussian(z, mu, sigma) - likelihoods.log_gaussian(z, double(0.0))
        error = ratio.std() / math.sqrt(len(z))
        assert abs(ratio.mean() - likelihoods.kl_standard_normal(mu, logvar)) < 4 * error


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda mu, sigma: likelihoods.log_gaussian(double(0.2, 3.0), mu, sigma), [(0.5, 1.0), (0.7, 2.0)]),
        (lambda logits: likelihoods.log_bernoulli(double(0.0, 1.0, 0.4), logits), [(0.5, -2.0, 8.0)]),
        (lambda logits: likelihoods.log_categorical(double(0.2, 0.8, 0.0), logits), [(0.5, -2.0, 1.0)]),
        (lambda logits: likelihoods.log_multinomial(double(2.0, 0.0, 5.0), logits), [(0.5, -2.0, 1.0)]),
        (likelihoods.kl_standard_normal, [(0.5, -1.0), (0.1, -0.4)]),
        (likelihoods.kl_normal, [(0.5, -1.0), (0.1, -0.4), (0.3, 0.2), (-0.5, 0.6)]),
    ],
    ids=["gaussian", "bernoulli", "categorical", "multinomial", "kl_standard_normal", "kl_normal"],
)
def test_gradients_agree_with_finite_differences(function, inputs):
    assert torch.autograd.gradcheck(function, [double(*values, grad=True) for values in inputs])
