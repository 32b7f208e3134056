"""Embedding, reconstructing, and bounds on the log-likelihood, against a model in which it is known."""

import itertools

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.special import logsumexp
from torch import nn
from torch.distributions import Normal, kl_divergence

from course_lib import latent
from course_lib.minibatches import CHUNK
from course_lib.models import PPCA, GeneExprAE, GeneExprVAE, LinearAE, Minibatch, P1B1GeneExpressionAE
from course_lib.models.base import local_seed

X = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)


class MeanAndVariance(nn.Module):
    """A stand-in for a variational model: its encoder returns a mean and a log variance."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def encode(self, x):
        return x[:, :2] * self.weight, torch.full_like(x[:, :2], 99.0)


class TestEmbed:
    def test_a_linear_encoder_gives_the_matrix_product(self):
        model = LinearAE(6, 2)
        z = latent.embed(model, X)
        weight, bias = (p.detach().numpy() for p in model.encoder[0].parameters())
        assert isinstance(z, np.ndarray) and z.shape == (30, 2) and z.dtype == np.float32
        np.testing.assert_allclose(z, X @ weight.T + bias, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        "data",
        [X, torch.tensor(X), sparse.csr_matrix(X), ad.AnnData(X), ad.AnnData(sparse.csc_matrix(X))],
        ids=["array", "tensor", "sparse", "AnnData", "sparse AnnData"],
    )
    def test_every_door_gives_the_same_codes(self, data):
        model = GeneExprAE(6, 2, (5,))
        np.testing.assert_allclose(latent.embed(model, data), latent.embed(model, X), rtol=1e-5)

    def test_layer_is_what_the_model_sees(self):
        model = GeneExprAE(6, 2, (5,))
        adata = ad.AnnData(np.ones_like(X), layers={"scaled": X})
        np.testing.assert_array_equal(latent.embed(model, adata, layer="scaled"), latent.embed(model, X))

    def test_of_a_mean_and_a_log_variance_the_mean_is_taken(self):
        np.testing.assert_array_equal(latent.embed(MeanAndVariance(), X), X[:, :2])

    def test_order_of_cells_is_kept_over_chunks(self):
        x = np.arange(2 * CHUNK + 3, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
        np.testing.assert_array_equal(latent.embed(MeanAndVariance(), x), x)

    @pytest.mark.parametrize("training", [True, False])
    def test_dropout_is_off_and_the_models_mode_is_given_back(self, training):
        model = P1B1GeneExpressionAE(6, 2, (50,), dropout=0.5).train(training)
        before = torch.get_rng_state()
        np.testing.assert_array_equal(latent.embed(model, X), latent.embed(model, X))
        assert model.training is training and torch.equal(before, torch.get_rng_state())

    def test_leaves_no_gradient_behind(self):
        model = GeneExprAE(6, 2, (5,))
        latent.embed(model, X)
        assert all(p.grad is None and p.requires_grad for p in model.parameters())

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (X[:, :4], "4 genes, the model was made for 6"),
            (np.where(X > 1, np.nan, X), "NaN"),
            (X[0], "shape"),
            (X.astype(str), "dtype"),
        ],
    )
    def test_data_that_do_not_fit_are_named(self, data, words):
        for function in (latent.embed, latent.reconstruct):
            with pytest.raises(ValueError, match=words):
                function(GeneExprAE(6, 2, (5,)), data)

    def test_an_unknown_layer_or_a_layer_beside_an_array_is_refused(self):
        model = GeneExprAE(6, 2, (5,))
        with pytest.raises(ValueError, match="no layer 'scaled'"):
            latent.embed(model, ad.AnnData(X), layer="scaled")
        with pytest.raises(ValueError, match="layer needs an AnnData"):
            latent.embed(model, X, layer="scaled")


class TestReconstruct:
    @pytest.mark.parametrize("output", ["real", "probability", "composition"])
    def test_is_the_models_output_on_the_scale_of_the_input(self, output):
        model = GeneExprAE(6, 2, (5,), output=output)
        x = {"real": X, "probability": 1 / (1 + np.exp(-X)), "composition": np.exp(X) / np.exp(X).sum(1, keepdims=True)}
        x_hat = latent.reconstruct(model, x[output])
        assert x_hat.shape == X.shape and x_hat.dtype == np.float32
        np.testing.assert_allclose(x_hat, model(torch.tensor(x[output]))[0].detach(), rtol=1e-5, atol=1e-6)

    def test_a_model_that_is_the_identity_gives_the_data_back(self):
        model = LinearAE(6, 6)
        with torch.no_grad():
            for layer in (model.encoder[0], model.decoder[0]):
                layer.weight.copy_(torch.eye(6))
                layer.bias.zero_()
        np.testing.assert_allclose(latent.reconstruct(model, X), X, rtol=1e-6)


def linear(sigma=0.6, seed=0) -> PPCA:
    """A model whose log p(x) is known; its code is turned, so that the best independent q is not the posterior."""
    rng = np.random.default_rng(seed)
    return PPCA(rng.normal(size=(6, 3)), np.zeros(6), sigma)


def exact(model: PPCA) -> tuple[np.ndarray, np.ndarray]:
    """log p(x) and ELBO of each cell, in closed form."""
    x = torch.tensor(X, dtype=torch.float64)
    loss = model.loss(Minibatch(x, None, None))
    return model.log_prob(x).detach().numpy(), -(loss.reconstruction + loss.kl).detach().numpy()


class TestElbo:
    def test_it_is_the_exact_one_within_the_error_of_the_draws(self):
        runs = np.array([latent.elbo(linear(), X, n_samples=50, seed=seed) for seed in range(40)])
        error = runs.std(0, ddof=1) / np.sqrt(40)
        assert runs.shape == (40, 30) and runs.dtype == np.float64
        assert (abs(runs.mean(0) - exact(linear())[1]) < 4.5 * error).all() and error.max() < 0.2

    def test_it_is_minus_the_models_loss_on_the_same_draw(self):
        model = GeneExprVAE(6, 2, (5,)).double()
        with local_seed(7):
            loss = model.loss(Minibatch(torch.tensor(X).double(), None, None))
        found = latent.elbo(model, X, n_samples=1, seed=7)
        np.testing.assert_allclose(found, -(loss.reconstruction + loss.kl).detach())

    def test_more_draws_have_less_noise_around_the_same_value(self):
        few, many = (np.array([latent.elbo(linear(), X, n_samples=n, seed=s) for s in range(30)]) for n in (1, 16))
        ratio = (few.var(0, ddof=1) / many.var(0, ddof=1)).mean()
        assert 10 < ratio < 26  # 16, and the noise of 30 variances


class TestIwae:
    def test_it_rises_from_the_elbo_to_the_log_likelihood(self):
        """Means over 30 cells and 40 seeds: each step is larger than 4 of its standard errors, and none too large."""
        log_p, elbo = (values.mean() for values in exact(linear(sigma=1.0)))
        means, errors = [], []
        for k in (1, 8, 64):
            runs = np.array([latent.iwae(linear(sigma=1.0), X, k, seed=seed).mean() for seed in range(40)])
            means.append(runs.mean()), errors.append(runs.std(ddof=1) / np.sqrt(40))
        assert abs(means[0] - elbo) < 4 * errors[0]
        for (low, high), (a, b) in zip(itertools.pairwise(means), itertools.pairwise(errors), strict=True):
            assert high - low > 4 * np.hypot(a, b)
        assert means[-1] < log_p + 4 * errors[-1] and log_p - means[-1] < 0.2 * (log_p - elbo)

    def test_without_its_logarithm_it_is_the_likelihood_on_average(self):
        """(1/K) Σ p(x, z)/q(z|x) is unbiased: over 200 seeds its ratio to p(x) is 1 within 4 standard errors."""
        model = linear(sigma=1.5)
        log_p = exact(model)[0]
        ratios = np.array([np.exp(latent.iwae(model, X, 8, seed=seed) - log_p).mean() for seed in range(200)])
        error = ratios.std(ddof=1) / np.sqrt(200)
        assert error < 0.02 and abs(ratios.mean() - 1) < 4 * error

    def test_it_is_the_textbook_formula_on_the_same_draws(self):
        """log-mean-exp of log p(x, z) − log q(z|x), all by torch.distributions and scipy."""
        model, x = GeneExprVAE(6, 2, (5,), sigma=0.8).double(), torch.tensor(X).double()
        with torch.no_grad(), local_seed(5):
            mu, logvar = model.encode(x)
            q = Normal(mu, torch.exp(logvar / 2))
            weights = []
            for _ in range(7):
                z = q.rsample()
                joint = Normal(model.decode(z), 0.8).log_prob(x).sum(1) + Normal(0.0, 1.0).log_prob(z).sum(1)
                weights.append((joint - q.log_prob(z).sum(1)).numpy())
        expected = logsumexp(weights, axis=0) - np.log(7)
        np.testing.assert_allclose(latent.iwae(model, X, 7, seed=5), expected)

    def test_where_q_is_the_posterior_one_sample_is_exact(self):
        model = PPCA.fit(X, 3)
        np.testing.assert_allclose(latent.iwae(model, X, 1), exact(model)[0], atol=1e-10)

    def test_weights_far_below_the_smallest_number_do_not_become_zero(self):
        found = latent.iwae(linear(sigma=0.01), 100 * X, 5)
        assert np.isfinite(found).all() and found.max() < -1000


class TestBounds:
    @pytest.mark.parametrize("bound", [latent.elbo, lambda *a, **k: latent.iwae(*a, n_samples=3, **k)])
    def test_the_seed_decides_and_mode_and_torchs_generator_are_given_back(self, bound):
        model, before = GeneExprVAE(6, 2, (5,)).train(), torch.get_rng_state()
        first, again, other = (bound(model, X, seed=seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert (first != other).all() and first.dtype == np.float32 and first.shape == (30,)
        assert model.training and torch.equal(before, torch.get_rng_state())
        assert all(part.grad is None for part in model.parameters())

    @pytest.mark.parametrize("bound", [latent.elbo, lambda *a, **k: latent.iwae(*a, n_samples=3, **k)])
    def test_each_cell_of_each_chunk_gets_its_own_library_and_batch(self, bound):
        n = CHUNK + 5
        obs = pd.DataFrame({"n": np.arange(n) + 1.0, "plate": np.where(np.arange(n) < 3, "a", "b")}, index=range(n))
        obs.index = obs.index.astype(str)
        adata = ad.AnnData(np.zeros((n, 2), np.float32), obs=obs, layers={"one": np.ones((n, 2), np.float32)})
        found = bound(LibraryAndBatch(), adata, layer="one", library_key="n", batch_key="plate")
        np.testing.assert_allclose(found, np.arange(n) + 1.0 + 1e5 * (np.arange(n) >= 3) + 1e6, rtol=1e-9, atol=1e-6)

    @pytest.mark.parametrize("n_samples", [0, 1.5, None])
    def test_a_number_of_samples_that_is_no_whole_number_is_refused(self, n_samples):
        for bound in (latent.elbo, latent.iwae):
            with pytest.raises(ValueError, match="n_samples is"):
                bound(linear(), X, n_samples=n_samples)

    def test_a_model_without_a_posterior_is_refused_and_keeps_its_mode(self):
        model = GeneExprAE(6, 2, (5,)).train()
        for function in (latent.elbo, lambda *a: latent.iwae(*a, 2), latent.active_units):
            with pytest.raises(ValueError, match="GeneExprAE has codes and no q"):
                function(model, X)
        assert model.training


class LibraryAndBatch(nn.Module):
    """q is the prior, and log p(x|z) is made of what the minibatch holds beside z."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def encode(self, x):
        return torch.zeros_like(x), torch.zeros_like(x)

    def log_likelihood(self, minibatch, z):
        return minibatch.library[:, 0] + 1e5 * minibatch.batch_index + 1e6 * minibatch.x[:, 0] + 0 * z[:, 0]


class TestActiveUnits:
    def test_variance_and_kl_of_a_given_posterior(self):
        table = latent.active_units(Given(), X)
        np.testing.assert_allclose(table["variance"], [X[:, 0].var(), (0.05 * X[:, 1]).var(), 0], rtol=1e-5, atol=1e-12)
        mu = np.c_[X[:, 0], 0.05 * X[:, 1], 0 * X[:, 0]]
        q = Normal(torch.tensor(mu), torch.tensor([0.5, 1.0, 1.0]).expand(30, 3))
        np.testing.assert_allclose(table["kl"], kl_divergence(q, Normal(0.0, 1.0)).mean(0), rtol=1e-5, atol=1e-12)
        assert table["active"].tolist() == [True, False, False]

    def test_the_threshold_can_be_moved(self):
        variance = (0.05 * X[:, 1]).var()
        assert latent.active_units(Given(), X, threshold=0.9 * variance)["active"].tolist() == [True, True, False]

    def test_kl_adds_up_to_the_models(self):
        model = GeneExprVAE(6, 4, (5,)).double()
        total = model.loss(Minibatch(torch.tensor(X).double(), None, None)).kl.mean().item()
        assert latent.active_units(model, X)["kl"].sum() == pytest.approx(total)


class Given(MeanAndVariance):
    """Three dimensions: one that follows a gene, one that hardly does, one that is the prior."""

    def encode(self, x):
        mu = torch.stack([x[:, 0], 0.05 * x[:, 1], 0 * x[:, 0]], dim=1) * self.weight
        return mu, torch.log(torch.tensor([0.25, 1.0, 1.0])).expand_as(mu)


def test_a_variational_model_is_reconstructed_from_the_mean_of_q_without_noise():
    model = GeneExprVAE(6, 2, (5,))
    expected = model.decode(model.encode(torch.tensor(X))[0]).detach()
    for _ in range(2):
        np.testing.assert_allclose(latent.reconstruct(model, X), expected, rtol=1e-5, atol=1e-6)
