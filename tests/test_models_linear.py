"""Probabilistic PCA and the linear VAE, against scipy's normal distribution, scikit-learn's PCA and each other."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA
from torch.distributions import MultivariateNormal, kl_divergence

from course_lib import latent, training
from course_lib.models import PPCA, LinearVAE, Minibatch
from course_lib.models.linear import LinearGaussian

SPREADS = (4.0, 2.5, 1.6, 0.4, 0.3, 0.2)  # variances of the data along the axes of a random basis


def minibatch(x) -> Minibatch:
    x = torch.as_tensor(x)
    return Minibatch(x, x.sum(1, keepdim=True), torch.zeros(len(x), dtype=torch.int64))


def data(n=400, seed=0) -> np.ndarray:
    """Cells whose covariance has exactly the eigenvalues `SPREADS`, and whose values are whole in single precision."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(n, len(SPREADS)))
    white = np.linalg.qr(white - white.mean(0))[0] * math.sqrt(n)
    basis = np.linalg.qr(rng.normal(size=(len(SPREADS), len(SPREADS))))[0]
    return (white * np.sqrt(SPREADS) @ basis.T + rng.normal(size=len(SPREADS))).astype(np.float32).astype(np.float64)


X = data()


def rotated(model: PPCA, seed=0) -> PPCA:
    """The same density over x, with a code turned by a random rotation."""
    turn = stats.ortho_group(model.n_latent, seed=seed).rvs()
    return PPCA(model.weight @ torch.tensor(turn), model.mean, model.sigma)


def random_model(n_genes=6, n_latent=3, sigma=0.7, seed=0) -> PPCA:
    rng = np.random.default_rng(seed)
    return PPCA(rng.normal(size=(n_genes, n_latent)), rng.normal(size=n_genes), sigma)


def marginal(model: LinearGaussian):
    weight, mean = model.weight.detach().numpy(), model.mean.detach().numpy()
    return stats.multivariate_normal(mean, weight @ weight.T + model.sigma**2 * np.eye(len(mean)))


class TestExactDensity:
    @pytest.mark.parametrize(("n_latent", "sigma"), [(1, 1.0), (3, 0.7), (5, 0.05), (8, 2.0)])
    def test_the_marginal_is_scipys_normal_distribution(self, n_latent, sigma):
        model = random_model(n_latent=n_latent, sigma=sigma)
        np.testing.assert_allclose(model.log_prob(torch.tensor(X)).detach(), marginal(model).logpdf(X), rtol=1e-9)

    def test_the_posterior_is_what_is_left_of_the_joint_when_x_is_known(self):
        """By conditioning the joint normal distribution of (z, x) on x, with no use of M."""
        model = random_model()
        weight, mean = model.weight.detach().numpy(), model.mean.detach().numpy()
        covariance = weight @ weight.T + 0.49 * np.eye(6)
        gain = np.linalg.solve(covariance, weight).T  # cov(z, x) cov(x)⁻¹
        z, spread = (part.detach().numpy() for part in model.posterior(torch.tensor(X)))
        np.testing.assert_allclose(z, (X - mean) @ gain.T, atol=1e-12)
        np.testing.assert_allclose(spread, np.eye(3) - gain @ weight, atol=1e-12)

    def test_bayes_rule_holds_at_every_z(self):
        model, x = random_model(), torch.tensor(X[:20])
        z = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        mean, covariance = model.posterior(x)
        prior = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
        both = model.log_likelihood(minibatch(x), z) + prior.log_prob(z)
        torch.testing.assert_close(both, model.log_prob(x) + MultivariateNormal(mean, covariance).log_prob(z))

    def test_its_gradient_is_that_of_finite_differences(self):
        model, x = random_model(), torch.tensor(X[:5])

        def log_prob(weight, mean):
            state = {"decoder.0.weight": weight, "decoder.0.bias": mean}
            return torch.func.functional_call(LogProb(model), {f"model.{k}": v for k, v in state.items()}, (x,))

        assert torch.autograd.gradcheck(log_prob, (model.weight, model.mean))

    def test_drawn_cells_have_its_mean_and_covariance(self):
        model, n = random_model(), 40_000
        x = model.sample(n, seed=1).numpy()
        expected = marginal(model)
        error = 5 * expected.cov.diagonal().max() * math.sqrt(2 / n)
        np.testing.assert_allclose(x.mean(0), expected.mean, atol=error)
        np.testing.assert_allclose(np.cov(x.T), expected.cov, atol=error)

    @pytest.mark.parametrize(
        ("weight", "mean", "sigma", "words"),
        [
            (np.ones(3), np.ones(3), 1.0, r"weight has shape \(3,\)"),
            (np.ones((3, 2)), np.ones(2), 1.0, r"mean \(2,\)"),
            (np.ones((3, 2)), np.ones(3), 0.0, "sigma is 0"),
        ],
    )
    def test_parameters_that_do_not_fit_are_named(self, weight, mean, sigma, words):
        with pytest.raises(ValueError, match=words):
            PPCA(weight, mean, sigma)


class LogProb(torch.nn.Module):
    """A model's log_prob as its forward pass, so that torch can call it with other weights."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.log_prob(x)


class TestElbo:
    """log p(x) − ELBO = KL(q ‖ posterior), to machine precision, with torch.distributions' KL."""

    def q(self, n=20, seed=0):
        rng = np.random.default_rng(seed)
        root = rng.normal(size=(n, 3, 3))
        covariance = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(3)
        return torch.tensor(rng.normal(size=(n, 3))), torch.tensor(covariance)

    def test_the_gap_is_the_divergence_of_q_from_the_posterior(self):
        model, x = random_model(), torch.tensor(X[:20])
        mu, covariance = self.q()
        gap = model.log_prob(x) - model.elbo(x, mu, covariance)
        posterior = MultivariateNormal(*model.posterior(x))
        torch.testing.assert_close(
            gap, kl_divergence(MultivariateNormal(mu, covariance), posterior), rtol=1e-11, atol=0
        )
        assert gap.min() > 0.1

    def test_the_bound_touches_where_q_is_the_posterior(self):
        model, x = random_model(), torch.tensor(X[:20])
        gap = model.log_prob(x) - model.elbo(x, *model.posterior(x))
        torch.testing.assert_close(gap, torch.zeros(20, dtype=torch.float64), atol=1e-11, rtol=0)

    def test_one_covariance_for_all_cells_is_that_covariance_for_each(self):
        model, x = random_model(), torch.tensor(X[:20])
        mu, covariance = self.q()
        each = model.elbo(x, mu, covariance[:1].expand(20, 3, 3))
        torch.testing.assert_close(model.elbo(x, mu, covariance[0]), each)

    @pytest.mark.parametrize("kind", ["ppca", "vae"])
    def test_the_loss_is_minus_the_elbo_of_the_models_own_q(self, kind):
        model, x = (random_model() if kind == "ppca" else LinearVAE(6, 3, 0.7).double()), torch.tensor(X[:20])
        loss = model.loss(minibatch(x))
        mu, logvar = model.encode(x)
        expected = model.elbo(x, mu, torch.diag_embed(logvar.exp()))
        torch.testing.assert_close(-loss.reconstruction - loss.kl, expected)
        torch.testing.assert_close(-loss.loss, expected.mean())

    def test_the_reconstruction_term_is_the_mean_over_draws_of_the_sampled_one(self):
        """The sampled loss of every VAE, over 20,000 draws, within 4 standard errors of the closed form."""
        model, x, n = LinearVAE(6, 3, 0.7).double(), torch.tensor(X[:1]), 20_000
        with torch.no_grad():
            model.logvar.copy_(torch.tensor([-1.0, 0.0, 0.5]))
            exact = model.loss(minibatch(x)).reconstruction.item()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                drawn = super(LinearGaussian, model).loss(minibatch(x.expand(n, 6))).reconstruction
        assert abs(drawn.mean().item() - exact) < 4 * drawn.std().item() / math.sqrt(n)


class TestBestIndependentQ:
    def test_it_leaves_the_gap_of_the_formula_on_a_rotated_code_and_none_on_an_orthogonal_one(self):
        straight, x = PPCA.fit(X, 3), torch.tensor(X)
        turned = rotated(straight)
        torch.testing.assert_close(turned.log_prob(x), straight.log_prob(x))  # the same density
        m = (turned.weight.T @ turned.weight + turned.sigma**2 * torch.eye(3)).detach()
        expected = 0.5 * (m.diagonal().log().sum() - torch.logdet(m)).item()
        for model, gap in ((straight, 0.0), (turned, expected)):
            loss = model.loss(minibatch(x))
            found = model.log_prob(x) + loss.reconstruction + loss.kl
            np.testing.assert_allclose(found.detach(), gap, atol=1e-10)
        assert expected > 0.05

    def test_no_other_independent_q_comes_closer(self):
        model, x = rotated(PPCA.fit(X, 3)), torch.tensor(X[:5])
        mu, logvar = (part.detach().clone().requires_grad_() for part in model.encode(x))
        model.elbo(x, mu, torch.diag_embed(logvar.exp())).sum().backward()
        for gradient in (mu.grad, logvar.grad):  # the ELBO is concave in both, so a gradient of zero is the maximum
            torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-11, rtol=0)


class TestMaximumLikelihood:
    @pytest.mark.parametrize("n_latent", [1, 3, 5])
    def test_it_is_scikit_learns_with_the_covariance_divided_by_n(self, n_latent):
        """scikit-learn divides by n − 1; scaled to n, its model is ours."""
        model, pca, n = PPCA.fit(X, n_latent), PCA(n_latent, svd_solver="full").fit(X), len(X)
        assert model.sigma**2 == pytest.approx(pca.noise_variance_ * (n - 1) / n, rel=1e-9)
        np.testing.assert_allclose(marginal(model).cov, pca.get_covariance() * (n - 1) / n, atol=1e-9)
        scaled = PCA(n_latent, svd_solver="full").fit(X)
        scaled.explained_variance_ *= (n - 1) / n
        scaled.noise_variance_ *= (n - 1) / n
        np.testing.assert_allclose(model.log_prob(torch.tensor(X)).detach(), scaled.score_samples(X), rtol=1e-9)

    def test_eigenvalues_are_those_of_the_data(self):
        model = PPCA.fit(X, 3)
        assert model.sigma**2 == pytest.approx(np.mean(SPREADS[3:]), rel=1e-5)
        lengths = (model.weight**2).sum(0).detach().numpy()
        np.testing.assert_allclose(lengths, np.array(SPREADS[:3]) - 0.3, rtol=1e-5)

    @pytest.mark.parametrize("sigma", [None, 0.5, 1.4])
    def test_no_step_away_from_it_is_more_likely(self, sigma):
        model, x = PPCA.fit(X, 3, sigma=sigma), torch.tensor(X)
        best = model.log_prob(x).mean().item()
        generator = torch.Generator().manual_seed(0)
        for _ in range(50):
            step = 0.05 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
            scale = 1.0 if sigma else math.exp(0.05 * torch.randn(1, generator=generator).item())
            other = PPCA(model.weight + step[:, :3], model.mean + step[:, 3], model.sigma * scale)
            assert other.log_prob(x).mean().item() < best

    def test_a_direction_whose_eigenvalue_is_below_the_noise_is_not_used(self):
        for sigma in (0.5, 0.6, 0.7, 1.4, 3):
            lengths = (PPCA.fit(X, 5, sigma=sigma).weight ** 2).sum(0).detach().numpy()
            np.testing.assert_allclose(lengths, np.maximum(np.array(SPREADS[:5]) - sigma**2, 0), atol=1e-5)
            assert ((lengths == 0) == (np.array(SPREADS[:5]) < sigma**2)).all()
        units = latent.active_units(PPCA.fit(X, 5, sigma=1.4), X)
        np.testing.assert_allclose(units["kl"][2:], 0, atol=1e-12)
        np.testing.assert_allclose(units["kl"][:2], 0.5 * np.log(np.array(SPREADS[:2]) / 1.96), rtol=1e-4)

    def test_the_largest_entry_of_each_column_is_positive(self):
        weight = PPCA.fit(X, 5).weight.detach().numpy()
        assert (weight[np.abs(weight).argmax(0), range(5)] > 0).all()

    @pytest.mark.parametrize(
        ("x", "arguments", "words"),
        [
            (X[0], {"n_latent": 2}, "shape"),
            (X[:1], {"n_latent": 2}, "2 cells at least"),
            (np.where(X > 1, np.nan, X), {"n_latent": 2}, "finite"),
            (X, {"n_latent": 6}, "choose from 1 to 5"),
            (X, {"n_latent": 0}, "whole number"),
            (X, {"n_latent": 2, "sigma": -1.0}, "sigma is -1"),
            (X[:, :1] * np.ones((1, 4)), {"n_latent": 2}, "leaves no noise; give sigma"),
        ],
    )
    def test_what_cannot_be_fitted_is_named(self, x, arguments, words):
        with pytest.raises(ValueError, match=words):
            PPCA.fit(x, **arguments)


class TestLinearVAE:
    def trained(self, sigma, n_latent=3, **settings) -> LinearVAE:
        model = LinearVAE(6, n_latent, sigma, seed=1).double()
        arguments = {"n_epochs": 1000, "batch_size": 400, "lr": 0.1, "schedule": "cosine", "validation": 0}
        training.fit(model, X, **arguments | settings, progress=False, device="cpu")
        return model

    def test_training_comes_to_the_likelihood_of_ppca_and_its_bound_is_tight(self):
        best = PPCA.fit(X, 3)
        model, x = self.trained(best.sigma, n_epochs=1500), torch.tensor(X)
        with torch.no_grad():
            likelihood, exact = model.log_prob(x).mean().item(), best.log_prob(x).mean().item()
            elbo = -model.loss(minibatch(x)).loss.item()
        assert exact - 1e-4 < elbo <= likelihood <= exact + 1e-12  # nats per cell
        torch.testing.assert_close(model.weight @ model.weight.T, best.weight @ best.weight.T, atol=0.01, rtol=0)
        angles = model.weight.T @ model.weight
        assert (angles - torch.diag(angles.diagonal())).abs().max() < 0.05  # columns at right angles

    @pytest.mark.parametrize(("sigma", "kl_weight"), [(1.0, 1.0), (0.7, 1.0), (1.0, 3.0), (0.5, 20.0)])
    def test_directions_below_the_noise_times_the_weight_collapse_and_no_others(self, sigma, kl_weight):
        model = self.trained(sigma, n_latent=5, kl_weight=kl_weight)
        expected = sum(spread > kl_weight * sigma**2 for spread in SPREADS)
        units = latent.active_units(model, X)
        assert units["active"].sum() == expected
        assert units["kl"][~units["active"]].max() < 1e-3

    def test_its_q_has_one_variance_for_all_cells(self):
        model = LinearVAE(6, 3)
        with torch.no_grad():
            model.logvar.copy_(torch.tensor([1.0, 2.0, 3.0]))
        mu, logvar = model.encode(torch.tensor(X).float())
        assert logvar.tolist() == [[1.0, 2.0, 3.0]] * len(X) and mu.shape == (len(X), 3)
        torch.testing.assert_close(mu, model.encoder(torch.tensor(X).float()))

    @pytest.mark.parametrize("sizes", [(0, 1), (6, 0), (6, 1.5)])
    def test_sizes_that_are_no_whole_number_are_refused(self, sizes):
        with pytest.raises(ValueError, match="whole number, at least 1"):
            LinearVAE(*sizes)
