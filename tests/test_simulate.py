"""Simulated counts against the distributions that they are said to come from."""

import anndata as ad
import numpy as np
import pytest
from scipy import sparse, stats

from course_lib import simulate

P_MIN = 1e-3
"""Least p-value that a goodness-of-fit test may give. Seeds are fixed, so that a pass stays a pass."""

COARSE_LIBRARY = (9.0, 0.35)


def dense(adata: ad.AnnData) -> np.ndarray:
    return adata.X.toarray().astype(np.float64)


def randomised_pit(x, mean, theta, rng) -> np.ndarray:
    """Uniform on (0, 1) exactly where x is negative binomial with this mean and inverse dispersion."""
    law = stats.nbinom(theta, theta / (theta + mean))
    return law.cdf(x - 1) + rng.random(x.shape) * law.pmf(x)


def within(observed, expected, standard_error, n_sd=4.0) -> bool:
    return bool(np.all(np.abs(observed - expected) <= n_sd * standard_error))


@pytest.fixture(scope="module")
def clusters():
    return simulate.three_clusters(200, 90, mean_count=5.0, fold=4.0, theta=5.0, library_sd=0.3, seed=3)


@pytest.fixture(scope="module")
def many_genes():
    return simulate.splatter(6, 20_000, group_probs=(0.5, 0.5), de_prob=0.2, seed=1)


@pytest.fixture(scope="module")
def splat():
    return simulate.splatter(600, 200, library=COARSE_LIBRARY, seed=7)


class TestThreeClusters:
    def test_container_holds_counts_and_truth(self, clusters):
        assert clusters.shape == (600, 90)
        assert sparse.issparse(clusters.X) and clusters.X.format == "csr" and clusters.X.dtype == np.float32
        assert list(clusters.obs.columns) == ["cluster", "library"]
        assert clusters.obs["cluster"].value_counts().to_dict() == {"A": 200, "B": 200, "C": 200}
        assert clusters.var["over_in"].value_counts().to_dict() == {"A": 30, "B": 30, "C": 30}
        assert clusters.layers["true_rate"].dtype == np.float32
        assert clusters.obs_names.is_unique and clusters.var_names.is_unique

    def test_counts_are_whole_and_not_negative(self, clusters):
        x = dense(clusters)
        assert x.min() == 0 and np.array_equal(x, np.round(x))

    def test_every_cell_and_gene_has_a_count(self, clusters):
        assert (dense(clusters).sum(0) > 0).all() and (dense(clusters).sum(1) > 0).all()

    def test_true_proportions_sum_to_one_and_differ_by_the_fold(self, clusters):
        rate = clusters.layers["true_rate"].astype(np.float64)
        np.testing.assert_allclose(rate.sum(1), 1, rtol=1e-5)
        own = np.asarray(clusters.obs["cluster"])[:, None] == np.asarray(clusters.var["over_in"])[None, :]
        for cell in (0, 250, 599):
            assert np.unique(rate[cell, own[cell]]).size == np.unique(rate[cell, ~own[cell]]).size == 1
            assert rate[cell, own[cell]][0] / rate[cell, ~own[cell]][0] == pytest.approx(4.0, rel=1e-5)

    def test_counts_follow_the_negative_binomial_of_their_truth(self, clusters):
        mean = clusters.obs["library"].to_numpy()[:, None] * clusters.layers["true_rate"]
        u = randomised_pit(dense(clusters), mean, 5.0, np.random.default_rng(1))
        assert stats.kstest(u.ravel(), "uniform").pvalue > P_MIN

    def test_the_same_check_rejects_a_wrong_dispersion_and_a_wrong_mean(self, clusters):
        mean, rng = clusters.obs["library"].to_numpy()[:, None] * clusters.layers["true_rate"], np.random.default_rng(1)
        assert stats.kstest(randomised_pit(dense(clusters), mean, 7.0, rng).ravel(), "uniform").pvalue < 1e-6
        assert stats.kstest(randomised_pit(dense(clusters), 1.05 * mean, 5.0, rng).ravel(), "uniform").pvalue < 1e-6

    def test_library_is_log_normal_with_median_mean_count_times_genes(self, clusters):
        z = (np.log(clusters.obs["library"]) - np.log(5.0 * 90)) / 0.3
        assert stats.kstest(z, "norm").pvalue > P_MIN

    def test_row_sums_are_the_library_up_to_counting_noise(self, clusters):
        mean = clusters.obs["library"].to_numpy()[:, None] * clusters.layers["true_rate"]
        z = (dense(clusters).sum(1) - clusters.obs["library"]) / np.sqrt((mean + mean**2 / 5.0).sum(1))
        assert abs(z.mean()) < 4 / np.sqrt(len(z)) and z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * len(z)))

    @pytest.mark.parametrize("theta", [0.5, 5.0, 1e9])
    def test_mean_and_variance_of_a_gene_match_theory(self, theta):
        n = 1500
        data = simulate.three_clusters(n, 12, mean_count=8.0, fold=3.0, theta=theta, library_sd=0.0, seed=1)
        x = dense(data)[:n]  # cluster A alone: n independent draws of each gene
        mu = 8.0 * 12 * data.layers["true_rate"][0].astype(np.float64)
        variance, excess = stats.nbinom.stats(theta, theta / (theta + mu), moments="vk")
        np.testing.assert_allclose(variance, mu + mu**2 / theta, rtol=1e-6)
        assert within(x.mean(0), mu, np.sqrt(variance / n))
        assert within(x.var(0, ddof=1), variance, variance * np.sqrt((excess + 2) / n))
        np.testing.assert_array_equal(data.var["true_theta"], theta)

    def test_a_large_theta_gives_poisson_counts(self):
        data = simulate.three_clusters(300, 12, theta=1e9, seed=5)
        mean = data.obs["library"].to_numpy()[:, None] * data.layers["true_rate"]
        law, x = stats.poisson(mean), dense(data)
        u = law.cdf(x - 1) + np.random.default_rng(0).random(x.shape) * law.pmf(x)
        assert stats.kstest(u.ravel(), "uniform").pvalue > P_MIN

    def test_fold_change_between_clusters_is_found_in_the_counts(self, clusters):
        x, cluster, over_in = dense(clusters), np.asarray(clusters.obs["cluster"]), np.asarray(clusters.var["over_in"])
        share = {name: x[cluster == name].sum(0) / x[cluster == name].sum() for name in "ABC"}
        lfc = np.log2(share["A"] / share["B"])
        # delta method: the variance of log(mean of n cells) is (1 / μ + 1 / θ) / n, in each of two clusters
        mu = 5.0 * 90 * clusters.layers["true_rate"].astype(np.float64)
        error = np.sqrt(sum((1 / mu[cluster == name][0] + 1 / 5.0) / 200 for name in "AB")) / np.log(2)
        error *= np.sqrt(np.exp(0.3**2))  # cells of unlike depth weigh unlike
        truth = np.select([over_in == "A", over_in == "B"], [2.0, -2.0], 0.0)
        assert within(lfc, truth, error)

    def test_fold_one_makes_all_cells_alike(self):
        rate = simulate.three_clusters(5, 9, fold=1.0, mean_count=20).layers["true_rate"]
        np.testing.assert_allclose(rate, 1 / 9, rtol=1e-6)

    def test_library_sd_zero_gives_every_cell_the_same_depth(self):
        data = simulate.three_clusters(5, 9, library_sd=0.0, mean_count=20)
        np.testing.assert_allclose(data.obs["library"], 180)

    @pytest.mark.parametrize("pi", [0.1, 0.5])
    def test_fraction_of_zeros_matches_pi_plus_the_models_own_zeros(self, pi):
        data = simulate.three_clusters(300, 60, mean_count=3.0, zero_inflation=pi, seed=2)
        mean = data.obs["library"].to_numpy()[:, None] * data.layers["true_rate"]
        p_zero = pi + (1 - pi) * stats.nbinom.pmf(0, 5.0, 5.0 / (5.0 + mean))
        zeros = dense(data) == 0
        assert within(zeros.mean(), p_zero.mean(), np.sqrt((p_zero * (1 - p_zero)).sum()) / zeros.size)

    def test_zero_inflation_removes_counts_and_changes_no_other(self):
        plain = simulate.three_clusters(50, 60, seed=2)
        inflated = simulate.three_clusters(50, 60, zero_inflation=0.3, seed=2)
        kept = dense(inflated) > 0
        np.testing.assert_array_equal(dense(inflated)[kept], dense(plain)[kept])
        lost = (dense(plain) > 0) & ~kept
        share = lost.sum() / (dense(plain) > 0).sum()
        assert within(share, 0.3, np.sqrt(0.3 * 0.7 / (dense(plain) > 0).sum()))

    def test_a_number_of_genes_that_three_does_not_divide_leaves_no_gene_out(self):
        data = simulate.three_clusters(5, 10, mean_count=20)
        assert sorted(data.var["over_in"].value_counts()) == [3, 3, 4]

    def test_seed_decides_the_data(self):
        first, again, other = (simulate.three_clusters(10, 30, seed=seed) for seed in (4, 4, 5))
        assert (first.X != again.X).nnz == 0
        np.testing.assert_array_equal(first.obs["library"], again.obs["library"])
        assert (first.X != other.X).nnz > 0

    def test_whole_numbers_written_as_floats_are_sizes_too(self):
        assert simulate.three_clusters(1e1, 3e1).shape == (30, 30)

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            ({"n_cells_per_cluster": 0}, "n_cells_per_cluster is 0"),
            ({"n_cells_per_cluster": 2.5}, "n_cells_per_cluster is 2.5"),
            ({"n_cells_per_cluster": float("nan")}, "whole number"),
            ({"n_cells_per_cluster": float("inf")}, "whole number"),
            ({"n_cells_per_cluster": "ten"}, "whole number"),
            ({"n_cells_per_cluster": None}, "whole number"),
            ({"n_genes": 2}, "n_genes is 2"),
            ({"mean_count": 0}, "mean_count"),
            ({"mean_count": -1}, "mean_count"),
            ({"mean_count": float("nan")}, "mean_count"),
            ({"fold": 0}, "fold"),
            ({"fold": float("inf")}, "fold"),
            ({"theta": 0}, "theta"),
            ({"theta": float("nan")}, "theta"),
            ({"library_sd": -0.1}, "library_sd"),
            ({"library_sd": float("nan")}, "library_sd"),
            ({"zero_inflation": -0.1}, "zero_inflation"),
            ({"zero_inflation": 1.0}, "zero_inflation"),
            ({"zero_inflation": float("nan")}, "zero_inflation"),
            ({"mean_count": 0.01}, "without a single count"),
        ],
    )
    def test_bad_settings_are_named(self, arguments, word):
        with pytest.raises(ValueError, match=word):
            simulate.three_clusters(**{"n_cells_per_cluster": 5, "n_genes": 30} | arguments)


class TestSplatter:
    """The Splat model of Zappia et al. 2017, part by part."""

    def test_container_holds_counts_and_truth(self, splat):
        assert splat.shape == (600, 200)
        assert sparse.issparse(splat.X) and splat.X.format == "csr" and splat.X.dtype == np.float32
        assert set(splat.obs.columns) == {"group", "batch", "library"}
        assert set(splat.var.columns) == {"base_mean", "true_theta"}
        assert splat.varm["de_factor"].shape == (200, 3)
        assert splat.layers["true_rate"].shape == splat.shape and "dropped" not in splat.layers
        assert list(splat.obs["group"].cat.categories) == ["group_0", "group_1", "group_2"]
        assert list(splat.obs["batch"].unique()) == ["batch_0"]

    def test_gene_means_are_gamma_with_five_per_cent_outliers(self, many_genes):
        gamma = stats.gamma(0.6, scale=1 / 0.3)
        outlier = stats.lognorm(0.5, scale=gamma.median() * np.exp(4.0))
        mixture = stats.kstest(many_genes.var["base_mean"], lambda v: 0.95 * gamma.cdf(v) + 0.05 * outlier.cdf(v))
        assert mixture.pvalue > P_MIN
        assert stats.kstest(many_genes.var["base_mean"], gamma.cdf).pvalue < 1e-6

    def test_change_factors_have_the_stated_probability_direction_and_size(self, many_genes):
        log_factor = np.log(many_genes.varm["de_factor"])
        changed = log_factor != 0
        assert within(changed.mean(0), 0.2, np.sqrt(0.2 * 0.8 / 20_000))
        n = changed.sum()
        assert within((log_factor[changed] > 0).mean(), 0.5, np.sqrt(0.25 / n))
        folded = stats.foldnorm(0.1 / 0.4, scale=0.4)  # |N(0.1, 0.4)|
        assert stats.kstest(np.abs(log_factor[changed]), folded.cdf).pvalue > P_MIN

    def test_genes_change_independently_in_each_group(self, many_genes):
        changed = many_genes.varm["de_factor"] != 1
        assert within(changed.all(1).mean(), 0.04, np.sqrt(0.04 * 0.96 / 20_000))

    def test_rates_are_the_groups_means_renormalised_to_one(self, splat):
        rate = splat.layers["true_rate"].astype(np.float64)
        np.testing.assert_allclose(rate.sum(1), 1, rtol=1e-5)
        for code in range(3):
            expected = splat.var["base_mean"].to_numpy() * splat.varm["de_factor"][:, code]
            cells = splat.obs["group"].cat.codes.to_numpy() == code
            np.testing.assert_allclose(rate[cells], np.tile(expected / expected.sum(), (cells.sum(), 1)), rtol=1e-5)

    def test_an_unchanged_gene_shifts_all_the_same_because_rates_are_renormalised(self, splat):
        rate = splat.layers["true_rate"].astype(np.float64)
        first, second = (rate[splat.obs["group"] == name][0] for name in ("group_0", "group_1"))
        ratio = (first / second)[(splat.varm["de_factor"][:, :2] == 1).all(1)]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
        totals = splat.var["base_mean"].to_numpy() @ splat.varm["de_factor"]
        assert ratio[0] == pytest.approx(totals[1] / totals[0], rel=1e-5)
        assert abs(ratio[0] - 1) > 1e-3

    def test_library_is_log_normal_with_the_given_parameters(self, splat):
        assert stats.kstest((np.log(splat.obs["library"]) - 9.0) / 0.35, "norm").pvalue > P_MIN

    def test_group_shares_match_their_probabilities(self, splat):
        p = np.array([0.5, 0.3, 0.2])
        shares = splat.obs["group"].value_counts(sort=False, normalize=True).to_numpy()
        assert within(shares, p, np.sqrt(p * (1 - p) / 600))

    @pytest.mark.parametrize("bcv", [(0.1, 1.0), (0.3, 0.0), (0.0, 2.0)])
    def test_inverse_dispersion_follows_the_bcv_trend_with_chi_squared_noise(self, bcv):
        data = simulate.splatter(2, 4000, library=COARSE_LIBRARY, bcv=bcv, seed=2)
        base = data.var["base_mean"].to_numpy()
        mean_count = np.exp(9.0) * base / base.sum()
        trend = bcv[0] + bcv[1] / np.sqrt(mean_count)
        assert stats.kstest(data.var["true_theta"] * trend**2 * 60, stats.chi2(60).cdf).pvalue > P_MIN

    def test_counts_follow_the_negative_binomial_of_their_truth(self, splat):
        mean = splat.obs["library"].to_numpy()[:, None] * splat.layers["true_rate"]
        theta = np.broadcast_to(splat.var["true_theta"].to_numpy(), mean.shape)
        u = randomised_pit(dense(splat), mean, theta, np.random.default_rng(0))
        assert stats.kstest(u.ravel(), "uniform").pvalue > P_MIN
        assert (
            stats.kstest(
                randomised_pit(dense(splat), mean, 2 * theta, np.random.default_rng(0)).ravel(), "uniform"
            ).pvalue
            < 1e-6
        )

    def test_mean_and_variance_of_a_gene_match_theta(self):
        n = 3000
        data = simulate.splatter(n, 20, group_probs=(1.0,), library=(7.0, 0.0), seed=4)
        x, theta = dense(data), data.var["true_theta"].to_numpy()
        mu = data.obs["library"].iloc[0] * data.layers["true_rate"][0].astype(np.float64)
        variance, excess = stats.nbinom.stats(theta, theta / (theta + mu), moments="vk")
        usual = n * mu > 50  # where there are enough counts for a normal approximation
        assert usual.sum() >= 10
        assert within(x.mean(0)[usual], mu[usual], np.sqrt(variance / n)[usual])
        assert within(x.var(0, ddof=1)[usual], variance[usual], (variance * np.sqrt((excess + 2) / n))[usual], n_sd=5)

    def test_dispersion_by_cell_follows_each_mean_and_has_no_theta_per_gene(self):
        n = 400
        data = simulate.splatter(
            n, 300, group_probs=(1.0,), library=(11.0, 1.5), bcv=(0.1, 5.0), dispersion="cell", seed=4
        )
        assert data.var["true_theta"].isna().all()
        mean = data.obs["library"].to_numpy()[:, None] * data.layers["true_rate"].astype(np.float64)
        x, seen = dense(data), mean > 5
        # E[(x − μ)² − μ] / μ² is the squared BCV, whose expectation over 60 / χ²₆₀ is 60 / 58 times the trend's
        estimate = ((x - mean) ** 2 - mean) / mean**2
        expected = (0.1 + 5.0 / np.sqrt(mean)) ** 2 * 60 / 58
        shallow = data.obs["library"].to_numpy()[:, None] < np.exp(11.0)
        for cells in (seen & shallow, seen & ~shallow):
            assert cells.sum() > 5000
            assert np.mean(estimate[cells] / expected[cells]) == pytest.approx(1, abs=0.1)

    def test_batches_change_half_the_genes_by_factors_near_one(self):
        data = simulate.splatter(60, 4000, group_probs=(1.0,), batch_probs=(0.5, 0.5), seed=5)
        rate = data.layers["true_rate"].astype(np.float64)
        first, second = (rate[data.obs["batch"] == name][0] for name in ("batch_0", "batch_1"))
        log_ratio = np.log(first / second)
        # a quarter of the genes is unchanged in both batches, and these share one shift (from renormalising)
        values, counts = np.unique(np.round(log_ratio, 4), return_counts=True)
        unchanged = np.abs(log_ratio - values[counts.argmax()]) < 2e-4
        assert within(unchanged.mean(), 0.25, np.sqrt(0.25 * 0.75 / 4000), n_sd=5)
        # log factor: 0 or ± |N(0.1, 0.1)|, each half the time, so its variance is ½ (0.1² + 0.1²); two batches add
        assert log_ratio.std() == pytest.approx(np.sqrt(0.02), rel=0.05)

    def test_dropout_adds_zeros_with_a_logistic_probability(self):
        midpoint, shape = 1.0, -1.0
        arguments = {"library": COARSE_LIBRARY, "seed": 6}
        plain = simulate.splatter(300, 200, **arguments)
        data = simulate.splatter(300, 200, dropout=(midpoint, shape), **arguments)
        dropped, mean = data.layers["dropped"], data.obs["library"].to_numpy()[:, None] * data.layers["true_rate"]
        np.testing.assert_array_equal(dense(data), np.where(dropped, 0, dense(plain)))
        p = stats.logistic(midpoint, 1 / abs(shape)).sf(np.log(mean))  # a low mean is dropped more often
        for low, high in ((-np.inf, 0), (0, 1), (1, 2), (2, np.inf)):
            cell = (np.log(mean) > low) & (np.log(mean) <= high)
            error = np.sqrt((p[cell] * (1 - p[cell])).sum()) / cell.sum()
            assert within(dropped[cell].mean(), p[cell].mean(), error)

    def test_seed_decides_the_data(self):
        first, again, other = (simulate.splatter(20, 50, seed=seed) for seed in (4, 4, 5))
        assert (first.X != again.X).nnz == 0
        np.testing.assert_array_equal(first.var["true_theta"], again.var["true_theta"])
        assert (first.X != other.X).nnz > 0

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            ({"n_cells": 0}, "n_cells is 0"),
            ({"n_genes": 1}, "n_genes is 1"),
            ({"n_genes": 2.5}, "n_genes is 2.5"),
            ({"group_probs": (0.5, 0.6)}, "group_probs"),
            ({"group_probs": (1.5, -0.5)}, "group_probs"),
            ({"group_probs": ()}, "group_probs"),
            ({"group_probs": (float("nan"), 1)}, "group_probs"),
            ({"batch_probs": (0.5, 0.4)}, "batch_probs"),
            ({"de_prob": 1.1}, "de_prob"),
            ({"de_prob": float("nan")}, "de_prob"),
            ({"library": (8.0, -0.1)}, "library"),
            ({"library": (8.0,)}, "library"),
            ({"library": (5000.0, 0.3)}, "log ℓ"),
            ({"library": (8.0, 1000.0)}, "library"),
            ({"bcv": (-0.1, 1.0)}, "bcv"),
            ({"bcv": (0.0, 0.0)}, "bcv"),
            ({"bcv": 0.1}, "two finite numbers"),
            ({"dispersion": "gene-cell"}, "dispersion is 'gene-cell'"),
            ({"dropout": (1.0,)}, "midpoint and shape"),
            ({"dropout": (float("nan"), -1.0)}, "dropout"),
        ],
    )
    def test_bad_settings_are_named(self, arguments, word):
        with pytest.raises(ValueError, match=word):
            simulate.splatter(**{"n_cells": 5, "n_genes": 30} | arguments)


class TestTrajectory:
    @pytest.fixture
    def path(self):
        return simulate.trajectory(400, 60, mean_count=8.0, fold=5.0, width=0.2, theta=3.0, library_sd=0.4, seed=2)

    def test_proportions_follow_the_formula_for_every_cell_and_gene(self, path):
        for n, g in ((0, 0), (7, 30), (399, 59)):
            bump = [1 + 4 * np.exp(-((path.obs["time"].iloc[n] - h / 59) ** 2) / 0.08) for h in range(60)]
            assert path.layers["true_rate"][n, g] == pytest.approx(bump[g] / sum(bump), rel=1e-5)
        np.testing.assert_allclose(path.layers["true_rate"].sum(axis=1), 1, rtol=1e-5)

    def test_counts_are_negative_binomial_around_library_times_proportion(self, path):
        mean = path.obs["library"].to_numpy()[:, None] * path.layers["true_rate"]
        u = randomised_pit(dense(path), mean, 3.0, np.random.default_rng(0))
        assert stats.kstest(u.ravel(), "uniform").pvalue > P_MIN
        assert (path.var["true_theta"] == 3.0).all()

    def test_times_are_uniform_and_libraries_log_normal(self, path):
        assert stats.kstest(path.obs["time"], "uniform").pvalue > P_MIN
        log_library = np.log(path.obs["library"] / (8 * 60))
        assert stats.kstest(log_library, stats.norm(0, 0.4).cdf).pvalue > P_MIN

    def test_it_can_be_measured_again(self, path):
        assert simulate.measure_again(path).shape == path.shape

    def test_seed_decides_the_data(self):
        first, again, other = (simulate.trajectory(20, 10, seed=seed) for seed in (1, 1, 2))
        assert (first.X != again.X).nnz == 0 and (first.X != other.X).nnz > 0

    @pytest.mark.parametrize("name", ["mean_count", "fold", "width", "theta", "library_sd", "n_cells", "n_genes"])
    def test_bad_settings_are_named(self, name):
        with pytest.raises(ValueError, match=f"{name} is -1"):
            simulate.trajectory(**{"n_cells": 5, "n_genes": 30} | {name: -1})


class TestMeasureAgain:
    def test_new_counts_come_from_the_same_truth(self, clusters):
        again = simulate.measure_again(clusters, seed=8)
        mean = clusters.obs["library"].to_numpy()[:, None] * clusters.layers["true_rate"]
        assert again.shape == clusters.shape and again.X.format == "csr" and again.X.dtype == np.float32
        u = randomised_pit(dense(again), mean, 5.0, np.random.default_rng(0))
        assert stats.kstest(u.ravel(), "uniform").pvalue > P_MIN
        assert again.obs.equals(clusters.obs) and again.var.equals(clusters.var)

    def test_the_noise_is_independent_of_the_first(self, clusters):
        mean = clusters.obs["library"].to_numpy()[:, None] * clusters.layers["true_rate"]
        first, second = (dense(data) - mean for data in (clusters, simulate.measure_again(clusters, seed=8)))
        correlation = (first * second).mean() / np.sqrt((first**2).mean() * (second**2).mean())
        assert abs(correlation) < 4 / np.sqrt(first.size)

    def test_every_gene_keeps_its_own_dispersion(self, splat):
        again = simulate.measure_again(splat)
        mean = splat.obs["library"].to_numpy()[:, None] * splat.layers["true_rate"]
        theta = np.broadcast_to(splat.var["true_theta"].to_numpy(), mean.shape)
        u = randomised_pit(dense(again), mean, theta, np.random.default_rng(0))
        assert stats.kstest(u.ravel(), "uniform").pvalue > P_MIN

    def test_extra_zeros_are_drawn_anew_at_the_same_rate(self):
        data = simulate.three_clusters(200, 60, mean_count=50.0, zero_inflation=0.3, seed=1)
        again = simulate.measure_again(data)
        first, second = dense(data) == 0, dense(again) == 0
        error = np.sqrt(0.3 * 0.7 / first.size)
        assert within(second.mean(), 0.3, error, n_sd=5) and within((first & second).mean(), 0.09, error, n_sd=5)

    def test_some_of_the_cells_and_genes_can_be_measured_again(self, clusters):
        part = clusters[10:30, 5:25]
        assert simulate.measure_again(part).shape == (20, 20)

    def test_seed_decides_the_data_and_the_truth_is_left_alone(self, clusters):
        before = clusters.X.copy()
        first, again, other = (simulate.measure_again(clusters, seed) for seed in (1, 1, 2))
        assert (first.X != again.X).nnz == 0 and (first.X != other.X).nnz > 0 and (clusters.X != before).nnz == 0

    def test_data_without_a_truth_are_refused(self, clusters):
        for spoil in (
            lambda data: data.layers.pop("true_rate"),
            lambda data: data.obs.pop("library"),
            lambda data: data.var.pop("true_theta"),
        ):
            data = clusters.copy()
            spoil(data)
            with pytest.raises(ValueError, match="lacks the truth"):
                simulate.measure_again(data)

    @pytest.mark.parametrize("arguments", [{"dispersion": "cell"}, {"dropout": (1.0, -1.0)}])
    def test_data_whose_noise_is_not_fixed_by_the_truth_are_refused(self, arguments):
        with pytest.raises(ValueError, match="cannot be measured again"):
            simulate.measure_again(simulate.splatter(10, 20, **arguments))
