"""Scores whose values are known."""

import numpy as np
import pytest
from scipy import sparse

from course_lib import latent, scores

X = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)


class TestVarianceExplained:
    def test_a_perfect_copy_is_one_and_the_gene_means_are_zero(self):
        assert scores.variance_explained(X, X) == 1
        assert scores.variance_explained(X, np.tile(X.mean(0), (30, 1))) == pytest.approx(0, abs=1e-6)

    def test_worse_than_the_means_is_negative(self):
        assert scores.variance_explained(X, X.mean(0) + 2 * (X.mean(0) - X)) == pytest.approx(-8, rel=1e-5)

    @pytest.mark.parametrize("rank", [1, 3])
    def test_of_a_principal_component_reconstruction_it_is_the_components_share(self, rank):
        from sklearn.decomposition import PCA

        pca = PCA(rank).fit(X)
        x_hat = pca.inverse_transform(pca.transform(X))
        assert scores.variance_explained(X, x_hat) == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-4)

    def test_a_gene_counts_by_its_variance(self):
        x = np.c_[10 * X[:, 0], X[:, 1]]
        lost = x.copy()
        lost[:, 1] = x[:, 1].mean()
        shares = x.var(0) / x.var(0).sum()
        assert scores.variance_explained(x, lost) == pytest.approx(shares[0], rel=1e-5)

    def test_sparse_values_are_taken_as_they_are(self):
        assert scores.variance_explained(sparse.csr_matrix(X), X) == 1

    @pytest.mark.parametrize(
        ("x_hat", "words"), [(X[:, :3], r"\(30, 6\) and x_hat \(30, 3\)"), (np.where(X > 1, np.nan, X), "NaN")]
    )
    def test_other_shapes_and_nan_are_refused(self, x_hat, words):
        with pytest.raises(ValueError, match=words):
            scores.variance_explained(X, x_hat)


class TestClusteringScores:
    def blobs(self, distance=50.0, n=40):
        rng = np.random.default_rng(0)
        labels = np.repeat(["a", "b", "c"], n)
        centres = distance * np.array([[0, 0], [1, 0], [0, 1]])
        return np.repeat(centres, n, 0) + rng.normal(size=(3 * n, 2)), labels

    def test_separate_clusters_score_one(self):
        found = scores.clustering_scores(*self.blobs())
        assert set(found) == {"ari", "nmi", "purity", "silhouette"}
        assert found["ari"] == found["nmi"] == found["purity"] == 1.0
        assert 0.9 < found["silhouette"] < 1
        assert all(type(value) is float for value in found.values())

    def test_names_and_order_of_labels_do_not_matter(self):
        z, labels = self.blobs(distance=2.0)
        renamed = np.select([labels == "a", labels == "b"], [7, 3], 5)
        order = np.random.default_rng(1).permutation(len(z))
        first, second = scores.clustering_scores(z, labels), scores.clustering_scores(z[order], renamed[order])
        assert first["purity"] == pytest.approx(second["purity"])
        assert first["silhouette"] == pytest.approx(second["silhouette"])

    def test_unrelated_labels_score_about_zero_and_purity_their_frequency(self):
        rng = np.random.default_rng(2)
        found = scores.clustering_scores(rng.normal(size=(2000, 3)), rng.choice(["a", "b"], 2000, p=[0.5, 0.5]))
        assert abs(found["ari"]) < 0.01 and found["nmi"] < 0.01 and abs(found["silhouette"]) < 0.01
        assert found["purity"] == pytest.approx(0.5, abs=0.03)

    def test_purity_and_silhouette_of_four_cells_on_a_line_by_hand(self):
        # cells at 0, 1, 3, 7 with labels a, a, b, b: nearest neighbours 1, 0, 1, 3 -> labels a, a, a, b
        found = scores.clustering_scores([[0.0], [1.0], [3.0], [7.0]], list("aabb"), n_neighbors=1)
        assert found["purity"] == 0.75
        # silhouettes (b − a) / max(a, b): (5 − 1)/5, (4 − 1)/4, (2.5 − 4)/4, (6.5 − 4)/6.5
        assert found["silhouette"] == pytest.approx(np.mean([0.8, 0.75, -0.375, 2.5 / 6.5]))

    def test_splitting_one_cluster_in_two_costs_ari_by_the_closed_form(self):
        # k-means finds the two far groups of 20; the labels cut across one of them: 20 a | 10 b + 10 a
        z = np.r_[np.zeros((20, 1)), np.full((20, 1), 100.0)] + np.random.default_rng(0).normal(size=(40, 1)) / 100
        labels = np.array(["a"] * 20 + ["b"] * 10 + ["a"] * 10)
        pairs = {n: n * (n - 1) / 2 for n in (10, 20, 30, 40)}
        index, rows, columns = pairs[20] + 2 * pairs[10], pairs[30] + pairs[10], 2 * pairs[20]
        expected = rows * columns / pairs[40]
        ari = (index - expected) / ((rows + columns) / 2 - expected)
        assert scores.clustering_scores(z, labels)["ari"] == pytest.approx(ari)

    def test_the_same_seed_gives_the_same_scores_above_5_000_cells(self):
        rng = np.random.default_rng(3)
        z, labels = rng.normal(size=(5200, 2)), rng.choice(list("ab"), 5200)
        assert scores.clustering_scores(z, labels, seed=1) == scores.clustering_scores(z, labels, seed=1)

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
            scores.clustering_scores(z, labels, n_neighbors=n_neighbors)


def test_they_are_at_hand_beside_the_codes_they_score():
    assert latent.clustering_scores is scores.clustering_scores
    assert latent.variance_explained is scores.variance_explained
