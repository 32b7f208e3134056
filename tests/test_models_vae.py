"""The variational autoencoder: its layers, its noise, its loss in nats, and that it learns a density to draw from."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from course_lib import latent, preprocess, simulate, training
from course_lib.models import GeneExprVAE, Minibatch, VariationalAutoencoder


def minibatch(x: torch.Tensor) -> Minibatch:
    return Minibatch(x, x.sum(1, keepdim=True), torch.zeros(len(x), dtype=torch.int64))


def cells(n=9, n_genes=7, seed=0) -> torch.Tensor:
    return torch.randn(n, n_genes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small(**settings) -> GeneExprVAE:
    return GeneExprVAE(7, 3, (6, 5), **{"seed": 1} | settings).double()


def seeded(function, seed=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return function()


class FixedPosterior(VariationalAutoencoder):
    """A model whose q is given, not computed."""

    def __init__(self, mu, logvar, sigma=1.0):
        super().__init__(nn.Identity(), nn.Sequential(nn.Linear(mu.shape[1], 7, dtype=torch.float64)), sigma)
        self.q = mu, logvar

    def encode(self, x):
        return self.q


class TestLayers:
    def test_the_lectures_sizes_are_the_default(self):
        model = GeneExprVAE(1000)
        widths = [[layer.weight.shape for layer in part if hasattr(layer, "weight")] for part in model.children()]
        assert widths == [[(512, 1000), (256, 512), (64, 256)], [(256, 32), (512, 256), (1000, 512)]]
        assert (model.n_genes, model.n_latent, model.sigma) == (1000, 32, 1.0)

    def test_encoder_and_decoder_are_those_of_the_formula_with_mean_before_log_variance(self):
        model, x = small(), cells()
        values = x.numpy()
        for n, layer in enumerate(model.encoder[::2]):
            values = np.maximum(values, 0) if n else values
            values = values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        mu, logvar = (part.detach().numpy() for part in model.encode(x))
        np.testing.assert_allclose(np.c_[mu, logvar], values)
        assert mu.shape == logvar.shape == (9, 3)
        values = mu
        for n, layer in enumerate(model.decoder[::2]):
            values = np.maximum(values, 0) if n else values
            values = values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        np.testing.assert_allclose(model.decode(torch.tensor(mu)).detach(), values)

    def test_forward_decodes_one_draw(self):
        model, x = small(), cells()
        x_hat, mu, logvar = seeded(lambda: model(x))
        z = seeded(lambda: model.reparameterize(mu, logvar))
        torch.testing.assert_close(x_hat, model.decode(z))
        torch.testing.assert_close((mu, logvar), model.encode(x))

    def test_the_seed_decides_and_torchs_generator_stays_where_it_was(self):
        before = torch.get_rng_state()
        a, b, c = (GeneExprVAE(7, 3, (6,), seed=seed).encoder[0].weight for seed in (1, 1, 2))
        assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(before, torch.get_rng_state())

    @pytest.mark.parametrize("sizes", [(0, 3, (6,)), (7, 2.5, (6,)), (7, 3, (0,)), (7, None, ())])
    def test_sizes_that_are_no_whole_number_are_refused(self, sizes):
        with pytest.raises(ValueError, match="whole number, at least 1"):
            GeneExprVAE(*sizes)

    @pytest.mark.parametrize("sigma", [0, -1.0, float("nan"), float("inf")])
    def test_a_standard_deviation_that_is_no_positive_number_is_refused(self, sigma):
        with pytest.raises(ValueError, match="sigma is"):
            GeneExprVAE(7, 3, sigma=sigma)


class TestNoise:
    def test_draws_have_the_mean_and_the_variance_that_were_asked_for(self):
        mu, logvar = torch.tensor([[1.0, -2.0]]).double(), torch.tensor([[math.log(9.0), math.log(0.25)]]).double()
        n = 40_000
        z = seeded(lambda: small().reparameterize(mu.expand(n, 2), logvar.expand(n, 2))).numpy()
        for i, (mean, sd) in enumerate([(1, 3), (-2, 0.5)]):
            assert stats.kstest(z[:, i], "norm", (mean, sd)).pvalue > 0.001
        assert abs(np.corrcoef(z.T)[0, 1]) < 4 / math.sqrt(n)  # noise of its own for each dimension
        assert abs(np.corrcoef(z[1:, 0], z[:-1, 0])[0, 1]) < 4 / math.sqrt(n)  # and for each cell

    def test_gradients_pass_through_the_draw_to_mean_and_log_variance(self):
        mu, logvar = (part.requires_grad_() for part in torch.randn(2, 4, 3, dtype=torch.float64))
        draw = lambda mu, logvar: seeded(lambda: small().reparameterize(mu, logvar))  # noqa: E731
        assert torch.autograd.gradcheck(draw, (mu, logvar))
        rsample = seeded(lambda: Normal(mu, torch.exp(logvar / 2)).rsample())
        expected = torch.autograd.grad((rsample**2).sum(), (mu, logvar))
        torch.testing.assert_close(torch.autograd.grad((draw(mu, logvar) ** 2).sum(), (mu, logvar)), expected)

    def test_a_variance_of_almost_zero_gives_the_mean(self):
        mu = cells(4, 3)
        torch.testing.assert_close(small().reparameterize(mu, torch.full_like(mu, -5000.0)), mu)


class TestLoss:
    @pytest.mark.parametrize("sigma", [1.0, 0.3])
    def test_reconstruction_is_minus_the_log_density_of_x_summed_over_genes(self, sigma):
        model, x = small(sigma=sigma), cells()
        loss = seeded(lambda: model.loss(minibatch(x)))
        x_hat, _, _ = seeded(lambda: model(x))
        expected = -stats.norm(x_hat.detach(), sigma).logpdf(x).sum(1)
        np.testing.assert_allclose(loss.reconstruction.detach(), expected)

    def test_kl_is_the_divergence_from_the_standard_normal_summed_over_dimensions(self):
        model, x = small(), cells()
        mu, logvar = model.encode(x)
        q, prior = Normal(mu, torch.exp(logvar / 2)), Normal(torch.zeros_like(mu), 1.0)
        torch.testing.assert_close(model.loss(minibatch(x)).kl, kl_divergence(q, prior).sum(1))

    @pytest.mark.parametrize("kl_weight", [1.0, 0.0, 0.25])
    def test_the_loss_is_the_mean_over_cells_of_the_weighted_sum(self, kl_weight):
        model, x = small(), cells()
        loss = model.loss(minibatch(x), kl_weight)
        expected = (loss.reconstruction + kl_weight * loss.kl).sum() / len(x)
        torch.testing.assert_close(loss.loss, expected)
        assert loss.kl.mean() > 0.01  # the weight has something to weigh

    @pytest.mark.parametrize("repeats", [2, 5])
    def test_neither_more_cells_nor_more_genes_change_what_a_term_weighs(self, repeats):
        """The trap of an average over genes or a sum over cells: each would divide or multiply one term alone."""

        def terms(n_cells, n_genes):  # the decoder's weight is zero, so that x does not depend on the draw
            model = FixedPosterior(cells(4, 2).repeat(n_cells, 1), cells(4, 2, seed=1).repeat(n_cells, 1))
            model.decoder[0] = nn.Linear(2, 7 * n_genes, dtype=torch.float64)
            for part in model.parameters():
                nn.init.constant_(part, 0.3 * (part.ndim == 1))
            loss = model.loss(minibatch(cells(4).repeat(n_cells, n_genes)))
            return loss.reconstruction.mean().item(), loss.kl.mean().item(), loss.loss.item()

        (reconstruction, kl, total), more_cells, more_genes = terms(1, 1), terms(repeats, 1), terms(1, repeats)
        assert more_cells == pytest.approx((reconstruction, kl, total))
        assert more_genes == pytest.approx((repeats * reconstruction, kl, repeats * reconstruction + kl))

    def test_against_the_summed_squared_error_the_kl_weighs_twice_the_noise_variance(self):
        model, x, sigma = small(sigma=0.3), cells(), 0.3
        loss, (x_hat, _, _) = seeded(lambda: model.loss(minibatch(x))), seeded(lambda: model(x))
        error = ((x - x_hat) ** 2).sum(1)
        constant = 7 * (0.5 * math.log(2 * math.pi) + math.log(sigma))
        torch.testing.assert_close(2 * sigma**2 * (loss.reconstruction - constant), error)

    def test_its_gradient_is_that_of_finite_differences(self):
        model, x = small(), cells(4)
        names, weights = zip(*model.named_parameters(), strict=True)

        def loss(*values):
            parts = dict(zip(names, values, strict=True))

            def call():
                return torch.func.functional_call(Loss(model), {f"model.{name}": p for name, p in parts.items()}, (x,))

            return seeded(call)

        assert torch.autograd.gradcheck(loss, weights)

    def test_in_expectation_minus_the_loss_is_the_elbo(self):
        """The mean of 4,000 draws is E_q[log p(x, z) − log q(z|x)] by torch.distributions, within 4 errors."""
        model, x, n = small(), cells(1), 4000
        mu, logvar = (part.expand(n, 3) for part in model.encode(x))
        q = Independent(Normal(mu, torch.exp(logvar / 2)), 1)
        z = seeded(q.sample, 8)
        joint = Normal(model.decode(z), 1.0).log_prob(x).sum(1) + Normal(0.0, 1.0).log_prob(z).sum(1)
        expected = joint - q.log_prob(z)
        loss = seeded(lambda: model.loss(minibatch(x.expand(n, 7))), 9)
        ours = -(loss.reconstruction + loss.kl)
        error = math.sqrt((expected.var() + ours.var()).item() / n)
        assert error < 0.1 and abs(ours.mean() - expected.mean()) < 4 * error


class Loss(nn.Module):
    """A model's loss as its forward pass, so that torch can call it with other weights."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.loss(minibatch(x)).loss


class TestRangeOfLogVariance:
    @pytest.mark.parametrize("value", [-1000.0, -200.0, -1e-6, 80.0])
    def test_terms_and_gradients_are_finite_where_single_precision_can_hold_them(self, value):
        mu = torch.zeros(2, 3)
        logvar = torch.full((2, 3), value, requires_grad=True)
        model = FixedPosterior(mu, logvar).float()
        with torch.no_grad():
            model.decoder[0].weight.zero_()
        loss = model.loss(minibatch(torch.zeros(2, 7)))
        loss.loss.backward()
        exact = 1.5 * (math.expm1(value) - value)
        assert loss.kl.detach().numpy() == pytest.approx([exact] * 2, rel=1e-4)
        assert torch.isfinite(loss.loss) and torch.isfinite(logvar.grad).all()

    @pytest.mark.parametrize("value", [-30.0, -12.0, 12.0, 30.0])
    def test_no_clamp_stops_the_gradient_that_leads_back(self, value):
        logvar = torch.full((2, 3), value, requires_grad=True)
        model = FixedPosterior(torch.zeros(2, 3), logvar).float()
        model.loss(minibatch(torch.zeros(2, 7))).loss.backward()
        assert (logvar.grad * math.copysign(1, value) > 0.1).all()

    def test_an_overflow_is_reported_by_training_and_not_hidden(self):
        with pytest.warns(UserWarning, match="not finite in epoch 1"):
            history = training.fit(
                GeneExprVAE(7, 3, (6,)), 1e4 * cells(30), n_epochs=3, validation=0.1, progress=False, device="cpu"
            )
        assert history.stopped == "diverged"


class TestSample:
    def test_cells_have_the_mean_and_covariance_of_the_model(self):
        model, n = small(sigma=0.5), 40_000
        model.decoder = nn.Sequential(nn.Linear(3, 7, dtype=torch.float64))  # linear, so that both are known
        weight, bias = (part.detach().numpy() for part in (model.decoder[0].weight, model.decoder[0].bias))
        x, x_hat = (model.sample(n, seed=2, mean=mean).numpy() for mean in (False, True))
        se = 5 * math.sqrt(2 / n)
        np.testing.assert_allclose(x.mean(0), bias, atol=se)
        np.testing.assert_allclose(np.cov(x.T), weight @ weight.T + 0.25 * np.eye(7), atol=se)
        np.testing.assert_allclose(np.cov(x_hat.T), weight @ weight.T, atol=se)
        np.testing.assert_allclose(np.cov((x - x_hat).T), 0.25 * np.eye(7), atol=0.25 * se)  # the same z in both

    def test_the_seed_decides_in_any_precision_and_torchs_generator_stays(self):
        before = torch.get_rng_state()
        model = GeneExprVAE(7, 3, (6,))
        first, again, other = (model.sample(4, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(first, again) and not torch.equal(first, other) and first.dtype == torch.float32
        torch.testing.assert_close(model.double().sample(4).float(), first)
        assert torch.equal(before, torch.get_rng_state()) and not first.requires_grad

    @pytest.mark.parametrize("n_cells", [0, 2.5])
    def test_a_number_of_cells_that_is_no_whole_number_is_refused(self, n_cells):
        with pytest.raises(ValueError, match="n_cells is"):
            small().sample(n_cells)


class TestTraining:
    def data(self):
        adata = simulate.three_clusters(100, 30, mean_count=10, seed=0)
        logs = preprocess.log_normalize(adata).toarray()
        return (logs - logs.mean(0)) / logs.std(0), adata.obs["cluster"]

    def fitted(self, x, **settings):
        model = GeneExprVAE(30, 4, (32,), seed=0).double()
        arguments = {"n_epochs": 60, "lr": 3e-3, "validation": 0.2, "progress": False, "device": "cpu"} | settings
        return model, training.fit(model, x, **arguments)

    def test_clusters_are_found_and_new_cells_have_the_spread_of_the_data(self):
        x, labels = self.data()
        model, history = self.fitted(x)
        table = history.table()
        assert table["validation_loss"].iloc[-1] < table["validation_loss"].iloc[0] - 1
        assert history.unit == "nats per cell"
        assert latent.clustering_scores(latent.embed(model, x), labels)["ari"] > 0.95
        new, means = (model.sample(2000, mean=mean).numpy().var(0).mean() for mean in (False, True))
        assert new > 1.05 * means + 0.9  # σ² = 1 more in x than in its mean
        assert latent.active_units(model, x)["active"].sum() >= 2

    def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(self):
        x, _ = self.data()
        first, _ = self.fitted(x, n_epochs=2, seed=5)
        torch.rand(3)
        again, _ = self.fitted(x, n_epochs=2, seed=5)
        other, _ = self.fitted(x, n_epochs=2, seed=6)
        weights = [model.encoder[0].weight for model in (first, again, other)]
        assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])

    def test_a_kl_weighted_as_in_the_trap_collapses_where_the_elbo_does_not(self):
        x, _ = self.data()
        elbo, _ = self.fitted(x)
        trap, _ = self.fitted(x, kl_weight=128 * 30 / 2)  # mean squared error over B · D numbers beside a summed KL
        assert latent.active_units(trap, x)["active"].sum() == 0 and latent.active_units(trap, x)["kl"].sum() < 0.01
        assert latent.active_units(elbo, x)["kl"].sum() > 1
