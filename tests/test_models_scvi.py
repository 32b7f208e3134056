"""SimpleScVI: its layers, its likelihood, its start from data, batches and libraries, and that it finds the truth."""

import math

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse, stats
from scipy.special import expit
from sklearn.neighbors import NearestNeighbors
from torch.distributions import Normal, kl_divergence

from course_lib import latent, preprocess, simulate, training
from course_lib.minibatches import Cells
from course_lib.models import GeneExprVAE, Minibatch, SimpleScVI

N_GENES = 7


def counts(n=9, n_genes=N_GENES, seed=0) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).poisson(3.0, (n, n_genes)) + 1.0)


def minibatch(x: torch.Tensor, n_batches=1) -> Minibatch:
    return Minibatch(x, x.sum(1, keepdim=True), torch.arange(len(x)) % n_batches)


def small(**settings) -> SimpleScVI:
    model = SimpleScVI(N_GENES, **{"n_latent": 3, "n_hidden": 6, "seed": 1} | settings).double()
    with torch.no_grad():
        model.log_theta.copy_(torch.linspace(-1, 1, N_GENES))
        model.log_library_prior.copy_(torch.tensor([[3.0, 0.5], [4.0, 0.25]])[: model.n_batches])
    return model


def seeded(function, seed=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return function()


def numpy_layers(layers, values: np.ndarray) -> np.ndarray:
    for n, layer in enumerate(layers[::2]):
        values = np.maximum(values, 0) if n else values
        values = values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    return values


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum(1, keepdims=True)


def nb(mean, theta):
    return stats.nbinom(theta, theta / (theta + mean))


def annotated(n_cells=60, n_genes=12, seed=0) -> ad.AnnData:
    adata = ad.AnnData(sparse.csr_matrix(counts(n_cells, n_genes, seed).numpy().astype(np.float32)))
    adata.var_names = [f"gene_{g}" for g in range(n_genes)]
    adata.obs["plate"] = pd.Categorical(["left", "right"] * (n_cells // 2))
    return adata


def quick(model, adata, **settings):
    arguments = {"n_epochs": 2, "progress": False, "device": "cpu"} | settings
    return training.fit(model, adata, **arguments)


class TestLayers:
    def test_the_lectures_sizes_are_the_default(self):
        model = SimpleScVI(2000)
        widths = [[layer.weight.shape for layer in part if hasattr(layer, "weight")] for part in model.children()]
        assert widths == [[(128, 2000), (128, 128), (20, 128)], [(128, 10), (2000, 128)]]
        assert (model.n_genes, model.n_latent, model.n_batches, model.gene_likelihood) == (2000, 10, 1, "nb")
        assert model.log_theta.shape == (2000,)

    def test_the_encoder_sees_the_logarithm_of_one_plus_the_counts(self):
        model, x = small(), counts()
        mu, logvar = (part.detach() for part in model.encode(x))
        np.testing.assert_allclose(np.c_[mu, logvar], numpy_layers(model.encoder, np.log1p(x.numpy())))
        assert mu.shape == logvar.shape == (9, 3)

    def test_proportions_are_the_softmax_of_the_decoder_and_sum_to_1(self):
        model, z = small(), torch.randn(9, 3, dtype=torch.float64) * 5
        rho, zi_logits = model.decode(z)
        np.testing.assert_allclose(rho.detach(), softmax(numpy_layers(model.decoder, z.numpy())))
        torch.testing.assert_close(rho.sum(1), torch.ones(9, dtype=torch.float64))
        assert zi_logits is None and (rho > 0).all()

    def test_with_zinb_the_decoder_gives_the_logit_of_an_extra_zero_beside_the_proportions(self):
        model, z = small(gene_likelihood="zinb"), torch.randn(9, 3, dtype=torch.float64)
        rho, zi_logits = model.decode(z)
        outputs = numpy_layers(model.decoder, z.numpy())
        np.testing.assert_allclose(rho.detach(), softmax(outputs[:, :N_GENES]))
        np.testing.assert_allclose(zi_logits.detach(), outputs[:, N_GENES:])

    def test_the_batch_enters_the_decoder_as_a_one_hot_vector_behind_z(self):
        model, z = small(n_batches=2), torch.randn(4, 3, dtype=torch.float64)
        rho, _ = model.decode(z, torch.tensor([0, 1, 1, 0]))
        one_hot = np.array([[1, 0], [0, 1], [0, 1], [1, 0]])
        np.testing.assert_allclose(rho.detach(), softmax(numpy_layers(model.decoder, np.c_[z.numpy(), one_hot])))

    def test_the_seed_decides_and_torchs_generator_stays_where_it_was(self):
        before = torch.get_rng_state()
        a, b, c = (SimpleScVI(7, 3, 6, seed=seed).decoder[0].weight for seed in (1, 1, 2))
        assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(before, torch.get_rng_state())

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"n_genes": 0}, "whole number, at least 1"),
            ({"n_latent": 2.5}, "whole number, at least 1"),
            ({"n_hidden": None}, "whole number, at least 1"),
            ({"n_batches": 0}, "whole number, at least 1"),
            ({"gene_likelihood": "poisson"}, "gene_likelihood is 'poisson'; choose 'nb' or 'zinb'"),
            ({"library": "observed"}, "library is 'observed'; choose 'given' or 'latent'"),
        ],
    )
    def test_settings_that_mean_nothing_are_refused(self, settings, words):
        with pytest.raises(ValueError, match=words):
            SimpleScVI(**{"n_genes": 7} | settings)


class TestLoss:
    def by_hand(self, model, cells):
        """(reconstruction, kl) of the loss, of scipy and torch.distributions, with the noise of seed 3."""
        mu, logvar = (part.detach() for part in model.encode(cells.x))
        q = Normal(mu, torch.exp(logvar / 2))
        z = seeded(q.rsample).numpy()
        inputs = z[:, : model.n_latent]
        if model.n_batches > 1:
            inputs = np.c_[inputs, np.eye(model.n_batches)[cells.batch_index]]
        outputs = numpy_layers(model.decoder, inputs)
        library = cells.library.numpy()
        if model.library == "latent":
            mean, sd = model.log_library_prior.numpy()[cells.batch_index].T
            library = np.exp(mean + sd * z[:, -1])[:, None]
        distribution = nb(library * softmax(outputs[:, :N_GENES]), np.exp(model.log_theta.detach().numpy()))
        log_p = distribution.logpmf(cells.x)
        if model.gene_likelihood == "zinb":
            pi = expit(outputs[:, N_GENES:])
            p = (1 - pi) * distribution.pmf(cells.x) + np.where(cells.x == 0, pi, 0)
            log_p = np.log(p)
        return -log_p.sum(1), kl_divergence(q, Normal(0.0, 1.0)).sum(1).numpy()

    @pytest.mark.parametrize("gene_likelihood", ["nb", "zinb"])
    @pytest.mark.parametrize("n_batches", [1, 2])
    @pytest.mark.parametrize("library", ["given", "latent"])
    def test_both_terms_are_those_of_the_formula(self, gene_likelihood, n_batches, library):
        model = small(gene_likelihood=gene_likelihood, n_batches=n_batches, library=library)
        x = counts()
        x[::2, ::3] = 0
        cells = minibatch(x, n_batches)
        loss = seeded(lambda: model.loss(cells, 0.25))
        reconstruction, kl = self.by_hand(model, cells)
        np.testing.assert_allclose(loss.reconstruction.detach(), reconstruction, rtol=1e-9)
        np.testing.assert_allclose(loss.kl.detach(), kl)
        assert loss.loss.item() == pytest.approx((reconstruction + 0.25 * kl).mean())

    def test_its_gradient_reaches_every_weight_and_is_that_of_finite_differences(self):
        model, cells = small(gene_likelihood="zinb", n_batches=2, library="latent"), minibatch(counts(4), 2)
        seeded(lambda: model.loss(cells)).loss.backward()
        for name, part in model.named_parameters():
            entry = part.grad.abs().flatten().argmax()
            slope, values, step = part.grad.flatten()[entry].item(), [], 1e-6
            for sign in (1, -1, 0):
                with torch.no_grad():
                    part.view(-1)[entry] += sign * step if sign else step  # up, down past the start, and back to it
                    part.view(-1)[entry] -= step if sign == -1 else 0
                    values.append(seeded(lambda: model.loss(cells)).loss.item())
            assert slope != 0 and (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-4), name

    def test_the_bounds_of_latent_are_the_loss_averaged_over_draws(self):
        model, x = small(gene_likelihood="zinb", library="latent"), counts(3)
        cells = minibatch(x.repeat_interleave(4000, 0))
        terms = seeded(lambda: model.loss(cells))
        draws = -(terms.reconstruction + terms.kl).detach().reshape(3, 4000)
        bound = latent.elbo(model, x, n_samples=4000)
        error = math.sqrt(2 / 4000) * draws.std(1).numpy()
        assert (np.abs(bound - draws.mean(1).numpy()) < 4 * error).all() and error.max() < 0.5
        assert (latent.iwae(model, x, 500) > bound).all()


class TestLatentLibrary:
    def test_the_divergence_of_u_is_that_of_the_log_library_from_its_prior(self):
        model, x = small(library="latent", n_batches=2), counts()
        cells = minibatch(x, 2)
        mu, logvar = (part[:, -1:] for part in model.encode(x))
        mean, sd = model.log_library_prior[cells.batch_index].split(1, dim=1)
        of_log_library = kl_divergence(Normal(mean + sd * mu, sd * torch.exp(logvar / 2)), Normal(mean, sd)).sum(1)
        of_z = kl_divergence(*(Normal(*part) for part in self.z(model, x))).sum(1)
        torch.testing.assert_close(model.loss(cells).kl, of_z + of_log_library)

    @staticmethod
    def z(model, x):
        mu, logvar = (part[:, :-1] for part in model.encode(x))
        return (mu, torch.exp(logvar / 2)), (torch.zeros_like(mu), torch.ones_like(mu))

    def test_what_the_minibatch_says_of_the_library_plays_no_part(self):
        model, cells = small(library="latent"), minibatch(counts())
        other = cells._replace(library=7 * cells.library)
        assert torch.equal(*(seeded(lambda c=c: model.loss(c)).reconstruction for c in (cells, other)))
        model = small()
        assert not torch.equal(*(seeded(lambda c=c: model.loss(c)).reconstruction for c in (cells, other)))

    def test_an_embedding_is_z_without_the_library(self):
        model, x = small(library="latent"), counts()
        np.testing.assert_allclose(latent.embed(model, x), model.encode(x)[0][:, :3].detach().float())


class TestStart:
    def test_dispersions_begin_at_the_moments_around_the_average_cell(self):
        model, x = small(), counts(200)
        model.initialise([minibatch(x)])
        library, values = x.sum(1, keepdim=True).numpy(), x.numpy()
        mean = library * values.sum(0) / values.sum()
        theta = (mean**2).sum(0) / ((values - mean) ** 2 - values).sum(0)
        expected = np.where(theta < 0, 100, np.clip(theta, 0.01, 100))
        np.testing.assert_allclose(
            model.log_theta.detach().exp().numpy(), expected, rtol=0.05
        )  # ½ a count is added to each

    def test_they_are_near_the_truth_where_all_cells_are_alike(self):
        adata = simulate.three_clusters(700, 30, fold=1.0, theta=2.0, mean_count=8, seed=4)
        model = SimpleScVI(30).double()
        model.initialise([minibatch(torch.tensor(adata.X.toarray()))])
        assert np.median(np.abs(model.log_theta.detach().numpy() - math.log(2.0))) < 0.06
        assert np.abs(SimpleScVI(30).log_theta.detach().numpy() - math.log(2.0)).min() > 0.5

    def test_a_decoder_without_weights_would_give_the_average_cell(self):
        model, x = small(n_batches=2, gene_likelihood="zinb"), counts(200)
        model.initialise([minibatch(x, 2)])
        with torch.no_grad():
            model.decoder[-1].weight.zero_()
        rho = model.decode(torch.zeros(2, 3, dtype=torch.float64), torch.tensor([0, 1]))[0].detach()
        np.testing.assert_allclose(rho, np.tile((x.sum(0) + 0.5) / (x.sum() + 3.5), (2, 1)))

    def test_a_gene_without_a_count_does_no_harm(self):
        x = counts(50)
        x[:, 2] = 0
        model = small()
        model.initialise([minibatch(x)])
        assert all(torch.isfinite(part).all() for part in model.parameters())
        assert torch.isfinite(model.loss(minibatch(x)).loss)

    def test_the_prior_of_a_latent_library_has_each_batchs_mean_and_deviation(self):
        model, x = small(library="latent", n_batches=2), counts(40)
        x[1::2] *= 3
        model.initialise([minibatch(x, 2)])
        logs = np.log(x.sum(1).numpy())
        expected = [[logs[s::2].mean(), logs[s::2].std()] for s in (0, 1)]
        np.testing.assert_allclose(model.log_library_prior, expected)

    def test_in_parts_or_as_a_whole_it_is_the_same(self):
        x, whole, parts = counts(41), small(n_batches=2), small(n_batches=2)
        whole.initialise([minibatch(x, 2)])
        parts.initialise(minibatch(x[i : i + 10], 2) for i in range(0, 41, 10))
        for one, other in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
            torch.testing.assert_close(one, other)

    def test_a_model_that_has_started_is_left_as_it_is(self):
        model = small()
        model.initialise([minibatch(counts(40))], [f"g{g}" for g in range(7)])
        before = {name: part.clone() for name, part in model.state_dict().items()}
        model.initialise([minibatch(counts(40, seed=1) * 9)])
        assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())
        assert model.gene_names == [f"g{g}" for g in range(7)]

    def test_every_weight_is_in_one_group_and_log_theta_has_its_own_rate(self):
        model = small(gene_likelihood="zinb")
        rest, theta = model.parameter_groups(3e-4)
        assert {id(part) for part in [*rest["params"], *theta["params"]]} == {id(part) for part in model.parameters()}
        assert len(rest["params"]) + 1 == len(list(model.parameters()))
        assert theta["params"] == [model.log_theta] and (rest["lr"], theta["lr"]) == (3e-4, 1e-2)


@pytest.fixture(scope="module")
def fitted():
    adata = simulate.three_clusters(400, 60, mean_count=5, theta=4.0, seed=2)
    train, test = preprocess.split(adata, 0.2, seed=0)
    model = SimpleScVI(60, 5, 32, seed=0).double()
    quick(model, train, n_epochs=60, kl_warmup=15, lr=3e-3, schedule="cosine", validation=0)
    return model, train, test


class TestTraining:
    def test_fit_starts_it_from_the_training_cells_alone_and_keeps_names(self):
        adata, model, alike = annotated(), SimpleScVI(12, 3, 6, n_batches=2), SimpleScVI(12, 3, 6, n_batches=2)
        history = quick(model, adata, n_epochs=1, lr=1e-12, validation=0.25, batch_key="plate")
        training_cells = np.setdiff1d(np.arange(60), history.validation_cells)
        x = torch.tensor(adata.X[training_cells].toarray())
        alike.initialise([Minibatch(x, x.sum(1, keepdim=True), torch.tensor(training_cells) % 2)])
        torch.testing.assert_close(model.decoder[-1].bias, alike.decoder[-1].bias)
        torch.testing.assert_close(model.log_library_prior, alike.log_library_prior)
        assert (model.gene_names, model.batch_names) == (list(adata.var_names), ["left", "right"])

    def test_fit_moves_log_theta_at_its_own_rate(self):
        adata, model = annotated(), SimpleScVI(12, 3, 6).double()
        model.initialise([minibatch(torch.tensor(adata.X.toarray()))])
        before = {name: part.clone() for name, part in model.named_parameters()}
        quick(model, adata, n_epochs=1, batch_size=60, validation=0, lr=1e-5)  # Adam's first step is its learning rate
        moved = {name: (part - before[name]).abs().max().item() for name, part in model.named_parameters()}
        assert moved.pop("log_theta") == pytest.approx(1e-2, rel=1e-2)
        assert max(moved.values()) == pytest.approx(1e-5, rel=1e-2)

    def test_compiling_is_asked_of_torch_and_changes_nothing_else(self, monkeypatch):
        adata, compiled = annotated(), []
        monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
        models = [SimpleScVI(12, 3, 6), SimpleScVI(12, 3, 6)]
        tables = [quick(model, adata, compiled=way).table() for model, way in zip(models, (False, True), strict=True)]
        pd.testing.assert_frame_equal(*tables)
        assert compiled == [models[1].loss]

    def test_it_comes_close_to_the_truth(self, fitted):
        """It loses the KL divergence: to say which of three clusters a cell is from costs up to log 3 nats."""
        model, _, test = fitted
        mean = test.obs["library"].to_numpy()[:, None] * test.layers["true_rate"]
        truth = nb(mean, test.var["true_theta"].to_numpy()).logpmf(test.X.toarray()).sum(1).mean()
        assert truth - 5 < latent.elbo(model, test, n_samples=20).mean() < truth

    def test_it_finds_clusters_proportions_and_dispersions(self, fitted):
        model, train, test = fitted
        assert latent.clustering_scores(latent.embed(model, test), test.obs["cluster"])["ari"] > 0.95
        assert np.median(np.abs(model.log_theta.detach().numpy() - math.log(4.0))) < 0.15
        rho = latent.reconstruct(model, test) / np.asarray(test.X.sum(1))
        average = np.asarray(train.X.sum(0)).ravel() / train.X.sum()
        error, of_average = (np.abs(np.log2(r / test.layers["true_rate"])).mean() for r in (rho, average))
        assert error < 0.15 < 0.5 < of_average


class TestExtraZeros:
    """Three in ten counts are set to zero. ℓ before that is known, or the row sum stands for it, or it is latent."""

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls):
        adata = simulate.three_clusters(300, 100, mean_count=8, theta=4.0, zero_inflation=0.3, seed=3)
        given, latent_library = {"gene_likelihood": "zinb"}, {"gene_likelihood": "zinb", "library": "latent"}
        return {
            "row sum": cls.fitted(adata, **given),
            "before": cls.fitted(adata, "library", **given),
            "latent": cls.fitted(adata, **latent_library),
        }

    @staticmethod
    def fitted(adata, library_key=None, **settings):
        """Error of ρ (mean absolute log2 ratio), mean of ℓ over its truth, mean π, median θ."""
        model, x = SimpleScVI(100, 5, 32, **settings), torch.tensor(adata.X.toarray())
        quick(model, adata, n_epochs=80, kl_warmup=20, lr=3e-3, schedule="cosine", library_key=library_key)
        library = adata.obs[library_key] if library_key else adata.X.sum(1)
        library = torch.tensor(np.asarray(library), dtype=torch.float32).reshape(-1, 1)
        with torch.no_grad():
            mu, theta, zi_logits = model(Minibatch(x, library, torch.zeros(len(x)).long()), model.encode(x)[0])
        library = mu.sum(1, keepdim=True).numpy()
        error = np.abs(np.log2(mu.numpy() / library / adata.layers["true_rate"])).mean()
        scale = (library[:, 0] / adata.obs["library"]).mean()
        return error, scale, torch.sigmoid(zi_logits).mean().item(), theta.median().item()

    def test_the_scale_before_extra_zeros_gives_the_proportions_and_the_row_sum_does_not(self, found):
        assert found["before"][0] < 0.14 < 0.165 < found["row sum"][0]
        assert found["row sum"][1] == pytest.approx(0.7, abs=0.01)

    def test_a_latent_library_finds_that_scale_and_almost_the_same_proportions(self, found):
        assert found["latent"][0] < 0.15
        assert found["latent"][1] == pytest.approx(1.0, abs=0.05)

    def test_the_probability_of_an_extra_zero_and_the_dispersion_come_with_it(self, found):
        for _, _, pi, theta in (found["before"], found["latent"]):
            assert pi == pytest.approx(0.3, abs=0.02) and 2.5 < theta < 5
        assert found["row sum"][2] < 0.28 and found["row sum"][3] < 2.5


class TestBatches:
    @staticmethod
    def opposite(model, adata) -> float:
        """Mean share of a cell's 15 nearest neighbours that are of the other batch, beside what chance gives."""
        z, batch = latent.embed(model, adata), adata.obs["batch"].to_numpy()
        near = NearestNeighbors(n_neighbors=15).fit(z).kneighbors(return_distance=False)
        return np.mean(batch[near] != batch[:, None]) / np.mean(batch[:, None] != batch)

    def test_a_decoder_that_knows_the_batch_leaves_z_without_it_and_keeps_groups(self):
        rng = np.random.default_rng(0)
        adata = simulate.three_clusters(200, 60, theta=5.0, seed=1)
        batch = rng.integers(0, 2, 600)
        mean = 300 * adata.layers["true_rate"] * rng.lognormal(0, 0.7, (2, 60))[batch]
        adata.X = sparse.csr_matrix(rng.poisson(rng.gamma(5.0, mean / 5.0)).astype(np.float32))
        adata.obs["batch"] = batch
        settings = {"n_epochs": 50, "kl_warmup": 20, "lr": 3e-3, "schedule": "cosine"}
        ignorant, told = SimpleScVI(60, 5, 32), SimpleScVI(60, 5, 32, n_batches=2)
        quick(ignorant, adata, **settings)
        quick(told, adata, batch_key="batch", **settings)
        print(
            self.opposite(ignorant, adata),
            self.opposite(told, adata),
            latent.clustering_scores(latent.embed(told, adata), adata.obs["cluster"]),
        )
        assert self.opposite(told, adata) > 0.85 > 0.1 > self.opposite(ignorant, adata)
        assert latent.clustering_scores(latent.embed(told, adata), adata.obs["cluster"])["ari"] > 0.95

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls):
        adata, model = annotated(), SimpleScVI(12, 3, 6, n_batches=2).double()
        quick(model, adata, batch_key="plate")
        return model, adata

    def test_batches_are_told_by_name_whatever_their_order_in_other_data(self, trained):
        model, adata = trained
        other = adata.copy()
        other.obs["plate"] = other.obs["plate"].cat.reorder_categories(["right", "left"])
        bounds = [latent.elbo(model, data, batch_key="plate") for data in (adata, other)]
        np.testing.assert_array_equal(*bounds)
        swapped = adata.copy()
        swapped.obs["plate"] = swapped.obs["plate"].cat.rename_categories(["right", "left"])
        assert not np.allclose(bounds[0], latent.elbo(model, swapped, batch_key="plate"))

    def test_cells_of_one_known_batch_are_enough(self, trained):
        model, adata = trained
        right = adata[adata.obs["plate"] == "right"].copy()
        full = latent.reconstruct(model, adata, batch_key="plate")
        np.testing.assert_allclose(latent.reconstruct(model, right, batch_key="plate"), full[1::2])

    def test_an_embedding_needs_no_batch(self, trained):
        model, adata = trained
        assert latent.embed(model, adata).shape == (60, 3)

    def test_a_missing_column_is_named(self, trained):
        model, adata = trained
        with pytest.raises(ValueError, match="no column 'donor'"):
            latent.elbo(model, adata, batch_key="donor")
        for data in (adata, adata.X, torch.ones(3, 12)):
            with pytest.raises(ValueError, match=r"n_batches=2.*batch_key.*\(left, right\)"):
                latent.elbo(model, data)
        with pytest.raises(ValueError, match="n_batches=2 and the data came without"):
            quick(SimpleScVI(12, n_batches=2), adata)

    def test_an_unseen_batch_is_named(self, trained):
        model, adata = trained
        other = adata.copy()
        other.obs["plate"] = ["left", "centre"] * 30
        for use in (latent.elbo, latent.reconstruct, latent.annotate):
            with pytest.raises(ValueError, match=r"batch\(es\) centre were not in the training data .*left, right"):
                use(model, other, batch_key="plate")
        with pytest.raises(ValueError, match="centre"):
            latent.iwae(model, other, 2, batch_key="plate")

    @pytest.mark.parametrize("n_batches", [1, 3])
    def test_another_number_of_batches_than_the_models_is_refused(self, n_batches):
        with pytest.raises(ValueError, match=rf"2 batches \(left, right\).*made for {n_batches}.*n_batches=2"):
            quick(SimpleScVI(12, n_batches=n_batches), annotated(), batch_key="plate")


class TestWhatComesOut:
    @pytest.mark.parametrize("library", ["given", "latent"])
    def test_codes_and_mean_counts_are_written_beside_the_cells(self, library):
        adata, model = annotated(), SimpleScVI(12, 3, 6, n_batches=2, library=library).double()
        quick(model, adata, batch_key="plate")
        x = adata.X.copy()
        assert latent.annotate(model, adata, batch_key="plate") is adata
        assert adata.obsm["X_scvi"].dtype == adata.layers["scvi_rate"].dtype == np.float32
        np.testing.assert_array_equal(adata.obsm["X_scvi"], latent.embed(model, adata))
        assert adata.obsm["X_scvi"].shape == (60, 3) and not (adata.X != x).nnz
        z, code = model.encode(torch.tensor(x.toarray()).double())[0], torch.tensor([0, 1] * 30)
        size = torch.tensor(x.sum(1)).reshape(-1, 1)
        if library == "latent":
            mean, sd = model.log_library_prior[code].T
            size = torch.exp(mean + sd * z[:, 3])[:, None]
        expected = (size * model.decode(z[:, :3], code)[0]).detach()
        np.testing.assert_allclose(adata.layers["scvi_rate"], expected, rtol=1e-5)

    def test_the_library_of_a_column_scales_the_mean_counts(self):
        adata, model = annotated(), SimpleScVI(12, 3, 6)
        adata.obs["size"] = 2.0 * np.asarray(adata.X.sum(1)).ravel()
        quick(model, adata, library_key="size")
        latent.annotate(model, adata, library_key="size")
        np.testing.assert_allclose(adata.layers["scvi_rate"].sum(1), adata.obs["size"], rtol=1e-5)

    def test_there_must_be_an_anndata_to_write_into(self):
        with pytest.raises(ValueError, match="adata is ndarray"):
            latent.annotate(SimpleScVI(12), annotated().X.toarray())

    @pytest.mark.parametrize("settings", [{}, {"n_batches": 2, "gene_likelihood": "zinb", "library": "latent"}])
    def test_a_saved_model_comes_back_as_it_was(self, settings, tmp_path):
        adata, model = annotated(), SimpleScVI(12, 3, 6, seed=4, **settings).double()
        batch_key = "plate" if settings else None
        quick(model, adata, batch_key=batch_key)
        model.save(tmp_path / "scvi.pt")
        again = SimpleScVI.load(tmp_path / "scvi.pt")
        bounds = [latent.elbo(m, adata, batch_key=batch_key) for m in (model, again)]
        np.testing.assert_array_equal(*bounds)
        assert (again.gene_names, again.batch_names) == (model.gene_names, model.batch_names)
        assert not again.training and again.log_theta.dtype == torch.float64
        theta = again.log_theta.clone()
        again.initialise([minibatch(counts(20, 12))])
        assert torch.equal(again.log_theta, theta)

    def test_a_file_of_something_else_is_refused(self, tmp_path):
        torch.save({"weights": GeneExprVAE(12, 3, (6,)).state_dict()}, tmp_path / "vae.pt")
        with pytest.raises(ValueError, match=r"vae\.pt holds no SimpleScVI.*model\.save"):
            SimpleScVI.load(tmp_path / "vae.pt")

    def test_nothing_in_a_file_is_executed(self, tmp_path):
        torch.save({"settings": minibatch}, tmp_path / "pickle.pt")
        with pytest.raises(Exception, match=r"(?i)weights.only"):
            SimpleScVI.load(tmp_path / "pickle.pt")


class TestDataThatDoNotFit:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda x: x - 2, "negative values"),
            (lambda x: x + 0.5, "not whole numbers.*raw counts"),
            (np.log1p, "looks log-normalised"),
            (lambda x: x * (np.arange(60) > 1)[:, None], r"2 cell\(s\) without a single count.*drop_empty"),
            (lambda x: np.where(x == 1, np.nan, x), "NaN or infinite"),
        ],
    )
    @pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, torch.tensor, ad.AnnData])
    def test_what_no_count_can_be_is_named_before_training_and_after(self, change, words, make):
        x = make(change(annotated().X.toarray()))
        for use in (quick, latent.embed, latent.elbo):
            with pytest.raises(ValueError, match=words):
                use(SimpleScVI(12, 3, 6), x)

    def test_other_genes_than_in_training_are_named(self):
        adata, model = annotated(), SimpleScVI(12, 3, 6)
        quick(model, adata)
        other = adata.copy()
        other.var_names = [*adata.var_names[:10], "new_1", "new_2"]
        for use in (latent.embed, latent.elbo, latent.annotate, quick):
            with pytest.raises(ValueError, match=r"lacks 2 of the model's genes \(gene_10, gene_11\)"):
                use(model, other)
            with pytest.raises(ValueError, match=r"another order.*model\.gene_names"):
                use(model, adata[:, ::-1].copy())
            with pytest.raises(ValueError, match=r"11 genes, the model was made for 12.*model\.gene_names"):
                use(model, adata[:, 1:].copy())
        np.testing.assert_array_equal(
            latent.embed(model, adata[:, ::-1][:, model.gene_names].copy()), latent.embed(model, adata)
        )

    def test_the_checks_do_not_make_a_sparse_matrix_dense(self, monkeypatch):
        cells, dense = Cells(annotated().X), []
        monkeypatch.setattr(Cells, "_rows", lambda self, index: dense.append(index))
        cells.check_for(SimpleScVI(12))
        assert not dense

    def test_counts_in_a_layer_bring_their_own_library(self):
        adata = annotated()
        layered = ad.AnnData(adata.X.log1p(), layers={"counts": adata.X}, obs=adata.obs, var=adata.var)
        models = [SimpleScVI(12, 3, 6).double() for _ in range(2)]
        quick(models[0], adata)
        quick(models[1], layered, layer="counts")
        np.testing.assert_array_equal(latent.elbo(models[0], adata), latent.elbo(models[1], layered, layer="counts"))
        with pytest.raises(ValueError, match="log-normalised"):
            quick(SimpleScVI(12), layered)
