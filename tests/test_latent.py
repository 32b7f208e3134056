"""Embedding, reconstructing, and scores whose values are known."""

import anndata as ad
import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from course_lib import latent
from course_lib.minibatches import CHUNK
from course_lib.models import GeneExprAE, LinearAE, P1B1GeneExpressionAE

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


class TestVarianceExplained:
    def test_a_perfect_copy_is_one_and_the_gene_means_are_zero(self):
        assert latent.variance_explained(X, X) == 1
        assert latent.variance_explained(X, np.tile(X.mean(0), (30, 1))) == pytest.approx(0, abs=1e-6)

    def test_worse_than_the_means_is_negative(self):
        assert latent.variance_explained(X, X.mean(0) + 2 * (X.mean(0) - X)) == pytest.approx(-8, rel=1e-5)

    @pytest.mark.parametrize("rank", [1, 3])
    def test_of_a_principal_component_reconstruction_it_is_the_components_share(self, rank):
        from sklearn.decomposition import PCA

        pca = PCA(rank).fit(X)
        x_hat = pca.inverse_transform(pca.transform(X))
        assert latent.variance_explained(X, x_hat) == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-4)

    def test_a_gene_counts_by_its_variance(self):
        x = np.c_[10 * X[:, 0], X[:, 1]]
        lost = x.copy()
        lost[:, 1] = x[:, 1].mean()
        shares = x.var(0) / x.var(0).sum()
        assert latent.variance_explained(x, lost) == pytest.approx(shares[0], rel=1e-5)

    def test_sparse_values_are_taken_as_they_are(self):
        assert latent.variance_explained(sparse.csr_matrix(X), X) == 1

    @pytest.mark.parametrize(
        ("x_hat", "words"), [(X[:, :3], r"\(30, 6\) and x_hat \(30, 3\)"), (np.where(X > 1, np.nan, X), "NaN")]
    )
    def test_other_shapes_and_nan_are_refused(self, x_hat, words):
        with pytest.raises(ValueError, match=words):
            latent.variance_explained(X, x_hat)


class TestClusteringScores:
    def blobs(self, distance=50.0, n=40):
        rng = np.random.default_rng(0)
        labels = np.repeat(["a", "b", "c"], n)
        centres = distance * np.array([[0, 0], [1, 0], [0, 1]])
        return np.repeat(centres, n, 0) + rng.normal(size=(3 * n, 2)), labels

    def test_separate_clusters_score_one(self):
        scores = latent.clustering_scores(*self.blobs())
        assert set(scores) == {"ari", "nmi", "purity", "silhouette"}
        assert scores["ari"] == scores["nmi"] == scores["purity"] == 1.0
        assert 0.9 < scores["silhouette"] < 1
        assert all(type(value) is float for value in scores.values())

    def test_names_and_order_of_labels_do_not_matter(self):
        z, labels = self.blobs(distance=2.0)
        renamed = np.select([labels == "a", labels == "b"], [7, 3], 5)
        order = np.random.default_rng(1).permutation(len(z))
        first, second = latent.clustering_scores(z, labels), latent.clustering_scores(z[order], renamed[order])
        assert first["purity"] == pytest.approx(second["purity"])
        assert first["silhouette"] == pytest.approx(second["silhouette"])

    def test_unrelated_labels_score_about_zero_and_purity_their_frequency(self):
        rng = np.random.default_rng(2)
        scores = latent.clustering_scores(rng.normal(size=(2000, 3)), rng.choice(["a", "b"], 2000, p=[0.5, 0.5]))
        assert abs(scores["ari"]) < 0.01 and scores["nmi"] < 0.01 and abs(scores["silhouette"]) < 0.01
        assert scores["purity"] == pytest.approx(0.5, abs=0.03)

    def test_purity_and_silhouette_of_four_cells_on_a_line_by_hand(self):
        # cells at 0, 1, 3, 7 with labels a, a, b, b: nearest neighbours 1, 0, 1, 3 -> labels a, a, a, b
        scores = latent.clustering_scores([[0.0], [1.0], [3.0], [7.0]], list("aabb"), n_neighbors=1)
        assert scores["purity"] == 0.75
        # silhouettes (b − a) / max(a, b): (5 − 1)/5, (4 − 1)/4, (2.5 − 4)/4, (6.5 − 4)/6.5
        assert scores["silhouette"] == pytest.approx(np.mean([0.8, 0.75, -0.375, 2.5 / 6.5]))

    def test_splitting_one_cluster_in_two_costs_ari_by_the_closed_form(self):
        # k-means finds the two far groups of 20; the labels cut across one of them: 20 a | 10 b + 10 a
        z = np.r_[np.zeros((20, 1)), np.full((20, 1), 100.0)] + np.random.default_rng(0).normal(size=(40, 1)) / 100
        labels = np.array(["a"] * 20 + ["b"] * 10 + ["a"] * 10)
        pairs = {n: n * (n - 1) / 2 for n in (10, 20, 30, 40)}
        index, rows, columns = pairs[20] + 2 * pairs[10], pairs[30] + pairs[10], 2 * pairs[20]
        expected = rows * columns / pairs[40]
        ari = (index - expected) / ((rows + columns) / 2 - expected)
        assert latent.clustering_scores(z, labels)["ari"] == pytest.approx(ari)

    def test_the_same_seed_gives_the_same_scores_above_5_000_cells(self):
        rng = np.random.default_rng(3)
        z, labels = rng.normal(size=(5200, 2)), rng.choice(list("ab"), 5200)
        assert latent.clustering_scores(z, labels, seed=1) == latent.clustering_scores(z, labels, seed=1)

    @pytest.mark.parametrize(
        ("z", "labels", "n_neighbors", "words"),
        [
            (X, ["a"] * 15 + ["b"] * 14, 3, "29 labels.*one label to each row"),
            (X[:, 0], ["a", "b"] * 15, 3, r"shape \(30,\)"),
            (X, ["a"] * 30, 3, "1 kinds of label"),
            (X, np.arange(30), 3, "30 kinds of label for 30 cells"),
            (X, ["a", None] * 15, 3, "15 missing values"),
            (X, [1.0, np.nan] * 15, 3, "15 missing values"),
            (np.where(X > 1, np.nan, X), ["a", "b"] * 15, 3, "NaN or infinite"),
            (X, ["a", "b"] * 15, 30, "n_neighbors is 30.*from 1 to 29"),
            (X, ["a", "b"] * 15, 0, "n_neighbors is 0"),
            (X[:1], ["a"], 1, "1 kinds of label for 1 cells"),
        ],
    )
    def test_what_cannot_be_scored_is_named(self, z, labels, n_neighbors, words):
        with pytest.raises(ValueError, match=words):
            latent.clustering_scores(z, labels, n_neighbors=n_neighbors)
