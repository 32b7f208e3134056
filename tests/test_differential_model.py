"""Differential expression with a model: each step against another computation, calibration, what does not fit."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, optimize, stats

from course_lib import differential, preprocess, simulate, training
from course_lib.differential import decoded, posterior
from course_lib.minibatches import Cells
from course_lib.models import GeneExprVAE, SimpleScVI

LABELS = ("group", "group_0", "group_1")


def fitted(data: ad.AnnData, batch_key=None, n_epochs=30, **settings) -> SimpleScVI:
    model, settings = SimpleScVI(data.n_vars, 4, 32, **settings).double(), {"validation": 0, "progress": False}
    training.fit(model, data, n_epochs=n_epochs, kl_warmup=n_epochs, lr=3e-3, batch_key=batch_key, **settings)
    return model


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    return preprocess.drop_empty(simulate.splatter(1200, 300, bcv=(0.3, 0.2), seed=1))


@pytest.fixture(scope="module")
def model(cells) -> SimpleScVI:
    return fitted(cells)


def two_batches(seed: int = 4) -> ad.AnnData:
    """Two groups that lie mostly in one batch each; a batch multiplies each gene by a factor of its own."""
    rng = np.random.default_rng(seed)
    group, n_genes = rng.integers(0, 2, 1000), 200
    batch = (rng.random(1000) < np.where(group == 0, 0.85, 0.15)).astype(int)
    change = np.where(rng.random(n_genes) < 0.15, rng.choice([-1.0, 1.0], n_genes), 0.0)
    rate = rng.gamma(1.0, 1.0, n_genes) + 0.1
    rate = rate * 2.0 ** (change * group[:, None]) * rng.lognormal(0, 0.5, (2, n_genes))[batch]
    rate /= rate.sum(axis=1, keepdims=True)
    mu = rng.lognormal(7, 0.3, (1000, 1)) * rate
    data = ad.AnnData(rng.poisson(rng.gamma(4.0, mu / 4.0)).astype(np.float32))
    data.obs["group"] = np.where(group == 0, "group_0", "group_1")
    data.obs["plate"] = np.where(batch == 0, "left", "right")
    data.var["change"] = -change  # log2, of group_0 to group_1, but for a shift that is the same for all genes
    return data


@pytest.fixture(scope="module")
def plates() -> tuple[ad.AnnData, SimpleScVI]:
    data = two_batches()
    return data, fitted(data, "plate", n_batches=2)


def run(model, data, *labels, **settings) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return differential.differential_expression(model, data, *(labels or LABELS), **settings)


def truth(data: ad.AnnData, a="group_0", b="group_1") -> np.ndarray:
    rate = pd.DataFrame(data.layers["true_rate"]).groupby(data.obs["group"].to_numpy()).mean()
    return np.log2(rate.loc[a] / rate.loc[b]).to_numpy()


def sums(x, library, kappa, rho):
    """Arguments of log2_ratio for two lists of cells of one gene, one batch."""
    parts = []
    for side in (0, 1):
        w = 1 / (1 + kappa * library[side] * rho)
        depth = w * library[side]
        parts.append([(w * x[side]).sum(), depth.sum(), (w * depth).sum(), kappa * (depth**2).sum()])
    return [np.reshape(values, (2, 1, 1)) for values in np.transpose(parts)]


class TestHowMuch:
    @pytest.mark.parametrize("theta", [0.7, 5.0, 1e6])
    def test_the_estimate_is_near_the_maximum_of_the_likelihood_and_its_error_is_the_curvature(self, theta):
        rng = np.random.default_rng(3)
        library = [rng.lognormal(8, 0.4, n) for n in (700, 500)]
        x = [rng.poisson(rng.gamma(theta, size * rho / theta)) for size, rho in zip(library, (2e-3, 3e-3), strict=True)]

        def loss(beta):
            mean = [size * np.exp(beta[0] + beta[1] * (side == 0)) for side, size in enumerate(library)]
            return -sum(stats.nbinom.logpmf(a, theta, theta / (theta + m)).sum() for a, m in zip(x, mean, strict=True))

        best = optimize.minimize(loss, [-6.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-8}).x
        h = 1e-3
        step = np.eye(2) * h
        hessian = [
            [
                (loss(best + a + b) - loss(best + a - b) - loss(best - a + b) + loss(best - a - b)) / (4 * h**2)
                for b in step
            ]
            for a in step
        ]
        expected_error = np.sqrt(np.linalg.inv(hessian)[1, 1]) / np.log(2)
        lfc, error = posterior.log2_ratio(*sums(x, library, 1 / theta, 2.5e-3))
        assert abs(lfc[0] - best[1] / np.log(2)) < 0.1 * expected_error
        assert error[0] == pytest.approx(expected_error, rel=0.05)

    def test_half_a_count_takes_most_of_the_bias_away(self):
        rng = np.random.default_rng(0)
        count = rng.poisson(np.array([[6.0], [12.0]]), (2, 40000)).reshape(2, 1, -1)
        depth = np.broadcast_to([[[1.0]], [[2.0]]], count.shape)
        lfc, error = posterior.log2_ratio(count, depth, depth, 0 * depth)
        assert abs(lfc.mean()) < 0.03 and lfc.std() == pytest.approx(np.sqrt((error**2).mean()), rel=0.1)
        assert abs(np.log2(count[0, 0][count[0, 0] > 0]).mean() - np.log2(6.0)) > 0.1

    def test_a_gene_without_a_count_has_a_finite_estimate_with_a_wide_error(self):
        depth = np.array([[[300.0]], [[100.0]]])
        lfc, error = posterior.log2_ratio(0 * depth, depth, depth, 0 * depth)
        assert lfc[0] == pytest.approx(np.log2(1 / 3)) and error[0] == pytest.approx(2 / np.log(2))

    def test_batches_are_joined_by_mantel_and_haenszels_weights(self):
        count, depth = np.array([[[40.0], [7.0]], [[25.0], [90.0]]]), np.array([[[10.0], [3.0]], [[4.0], [30.0]]])
        lfc, _ = posterior.log2_ratio(1e6 * count, 1e6 * depth, 1e6 * depth, 0 * depth)
        a, b = ([count[0, s, 0] * depth[1, s, 0] / depth[:, s, 0].sum() for s in (0, 1)],
                [count[1, s, 0] * depth[0, s, 0] / depth[:, s, 0].sum() for s in (0, 1)])  # fmt: skip
        assert lfc[0] == pytest.approx(np.log2(sum(a) / sum(b)), abs=1e-5)

    def test_a_batch_with_one_side_only_adds_nothing(self):
        count, depth = np.array([[[40.0], [0.0]], [[25.0], [90.0]]]), np.array([[[10.0], [0.0]], [[4.0], [30.0]]])
        both = posterior.log2_ratio(1e6 * count, 1e6 * depth, 1e6 * depth, 0 * depth)
        one = posterior.log2_ratio(*(1e6 * part[:, :1] for part in (count, depth, depth, 0 * depth)))
        np.testing.assert_allclose(both, one, rtol=1e-5)

    def test_sums_over_cells_are_those_written_out(self, cells, model, monkeypatch):
        monkeypatch.setattr(posterior, "CHUNK", 97)
        part = cells[:300].copy()
        stratum = torch.arange(300) % 2
        mean = torch.rand(2, cells.n_vars, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 300
        kappa = 0.5 + mean * 100
        found = posterior._totals(decoded.model_cells(model, part), stratum, mean, kappa)
        x, m, k = part.X.toarray().astype(float), mean.numpy()[stratum], kappa.numpy()[stratum]
        library = x.sum(axis=1, keepdims=True)
        w = 1 / (1 + k * library * m)
        for values, expected in zip(found, (w * x, w * library, w**2 * library, k * (w * library) ** 2), strict=True):
            np.testing.assert_allclose(values, [expected[::2].sum(0), expected[1::2].sum(0)], rtol=1e-12)


class TestHowSure:
    def variation(self, model, data, batch_key=None, n_samples=1):
        walked = decoded.model_cells(model, data, batch_key=batch_key)
        side = torch.as_tensor((data.obs["group"] != "group_0").to_numpy()).long()
        stratum = walked.batch_index + model.n_batches * side
        sizes = torch.bincount(stratum, minlength=2 * model.n_batches).reshape(2, -1)
        with decoded.drawing(model, 0):
            return [part.numpy() for part in posterior._variation(model, walked, stratum, sizes, n_samples)]

    def test_overdispersion_is_theta_and_what_z_explains(self, cells, model, monkeypatch):
        monkeypatch.setattr(model, "reparameterize", lambda mu, logvar: mu)
        monkeypatch.setattr(posterior, "CHUNK", 101)
        mean, kappa = self.variation(model, cells)
        with torch.no_grad():
            rho = model.decode(model.encode(torch.tensor(cells.X.toarray()).double())[0])[0].numpy()
            theta = torch.exp(model.log_theta).numpy()
        for side, own in enumerate((cells.obs["group"] == "group_0", cells.obs["group"] != "group_0")):
            part = rho[own.to_numpy()]
            squared_cv = part.var(axis=0) / part.mean(axis=0) ** 2
            np.testing.assert_allclose(mean[side], part.mean(axis=0), rtol=1e-9)
            n = len(part)
            np.testing.assert_allclose(kappa[side], (1 + squared_cv) / theta + squared_cv * n / (n - 1), rtol=1e-9)

    def test_what_batches_differ_by_is_not_counted(self, plates, monkeypatch):
        data, model = plates
        monkeypatch.setattr(model, "reparameterize", lambda mu, logvar: mu)
        monkeypatch.setattr(model, "encode", lambda x: (torch.zeros(len(x), 4, dtype=x.dtype),) * 2)
        _, kappa = self.variation(model, data, "plate")
        np.testing.assert_allclose(kappa[0], torch.exp(-model.log_theta).detach(), rtol=1e-9)

    def test_the_variance_of_zero_inflated_counts_is_the_one_of_drawn_counts(self, cells, monkeypatch):
        zinb = SimpleScVI(3, 2, 4, gene_likelihood="zinb").double()
        zinb.initialised.fill_(True)
        rho, logits = torch.tensor([[0.2, 0.3, 0.5]]).double(), torch.tensor([[-1.0, 0.5, -30.0]]).double()
        monkeypatch.setattr(zinb, "decode", lambda z, s: (rho.expand(len(z), -1), logits.expand(len(z), -1)))
        data = ad.AnnData(np.ones((8, 3), dtype=np.float32), obs={"group": ["group_0", "group_1"] * 4})
        mean, kappa = self.variation(zinb, data)
        rng = np.random.default_rng(0)
        mu, keep = 20 * rho.numpy(), 1 / (1 + np.exp(logits.numpy()))
        x = rng.poisson(rng.gamma(1.0, mu, (400000, 3))) * (rng.random((400000, 3)) < keep)
        np.testing.assert_allclose(20 * mean[0], x.mean(axis=0), rtol=0.02)
        np.testing.assert_allclose(20 * mean[0] + kappa[0] * (20 * mean[0]) ** 2, x.var(axis=0), rtol=0.03)

    def test_a_state_that_varies_within_groups_widens_the_errors(self):
        rng = np.random.default_rng(5)
        state, slope = rng.normal(size=600), np.where(np.arange(100) < 40, 0.7, 0.0)
        rate = np.exp(state[:, None] * slope) * rng.gamma(2.0, 1.0, 100)
        x = rng.poisson(3000 * rate / rate.sum(axis=1, keepdims=True))
        data = ad.AnnData(x.astype(np.float32), obs={"group": rng.choice(["group_0", "group_1"], 600)})
        found = run(fitted(data), data).loc[data.var_names]
        z = found["lfc_observed"] / found["lfc_error"]
        assert z[:40].std() < 1.5 and not found["is_de"].any()
        sides = [x[data.obs["group"] == name] for name in ("group_0", "group_1")]
        poisson = np.sqrt(sum(1 / side.sum(axis=0) for side in sides)) / np.log(2)
        assert np.median(found["lfc_error"][:40] / poisson[:40]) > 2


class TestShrinkage:
    estimate = np.r_[np.random.default_rng(0).normal(0.1, 0.1, 150), [-2.0, -1.2, -0.4, 0.5, 0.9, 1.6, 2.2, 3.0]]
    error = np.r_[np.full(150, 0.1), np.linspace(0.1, 0.8, 8)]

    def widths(self):
        widest = max((self.estimate - np.median(self.estimate)) ** 2 - self.error**2)
        return np.r_[0.0, np.geomspace(0.01, 2 * np.sqrt(widest), 20)]

    def test_posteriors_are_those_of_a_grid(self):
        found = differential.shrink(self.estimate, self.error)
        tau = self.widths()
        mean, std = found.moments()
        outside, inside = found.beyond(0.25)
        beta = np.linspace(-6, 6, 240001)
        prior = sum(p * stats.norm.pdf(beta, found.shift, t) for p, t in zip(found.prior[1:], tau[1:], strict=True))
        for g in (0, 3, 151, 153, 157):
            density = prior * stats.norm.pdf(self.estimate[g], beta, self.error[g])
            point = found.prior[0] * stats.norm.pdf(self.estimate[g], found.shift, self.error[g])
            total = integrate.trapezoid(density, beta) + point
            first = (integrate.trapezoid(density * beta, beta) + point * found.shift) / total
            second = (integrate.trapezoid(density * beta**2, beta) + point * found.shift**2) / total
            far = integrate.trapezoid(np.where(np.abs(beta) > 0.25, density, 0), beta) / total
            up = integrate.trapezoid(np.where(beta > found.shift, density, 0), beta) / total
            down = integrate.trapezoid(np.where(beta < found.shift, density, 0), beta) / total
            assert mean[g] == pytest.approx(first, abs=2e-4)
            assert std[g] == pytest.approx(np.sqrt(second - first**2), abs=2e-4)
            assert outside[g] == pytest.approx(far, abs=2e-4) and inside[g] == pytest.approx(1 - far, abs=2e-4)
            assert found.changed()[g] == pytest.approx(1 - point / total, abs=2e-4)
            assert found.wrong_sign()[g] == pytest.approx(1 - max(up, down), abs=2e-4)

    def test_no_other_prior_nearby_is_more_probable(self):
        found = differential.shrink(self.estimate, self.error)
        scale = np.sqrt(self.error[:, None] ** 2 + self.widths() ** 2)

        def log_posterior(prior, shift):
            density = stats.norm.pdf(self.estimate[:, None], shift, scale) @ prior
            return np.log(density).sum() + 9 * np.log(prior[0])

        best = log_posterior(found.prior, found.shift)
        for other in np.eye(21):
            assert log_posterior(0.999 * found.prior + 0.001 * other, found.shift) < best + 1e-3
        for move in (-0.005, 0.005):
            assert log_posterior(found.prior, found.shift + move) < best

    def test_the_shift_and_the_share_of_unchanged_genes_are_found(self):
        rng = np.random.default_rng(1)
        effect = np.where(rng.random(3000) < 0.2, rng.normal(0, 1.0, 3000), 0.0) - 0.3
        error = rng.uniform(0.05, 0.3, 3000)
        found = differential.shrink(effect + error * rng.normal(size=3000), error)
        assert found.shift == pytest.approx(-0.3, abs=0.01) and found.prior[0] == pytest.approx(0.8, abs=0.06)
        mean, std = found.moments()
        real, called = effect != -0.3, differential.expected_fdr(found.changed()) < 0.1
        assert 0.06 < (~real[called]).mean() < 0.14 and called[real].mean() > 0.6
        assert found.changed().mean() == pytest.approx(real.mean(), abs=0.05)
        assert 0.87 < np.mean(np.abs(mean - effect) < 1.645 * std) < 0.97
        assert np.mean((mean - effect) ** 2) < 0.4 * np.mean(error**2)

    def test_both_tails_stay_exact_where_they_are_tiny(self):
        sides = np.array([[0.0, 3.0], [0.0, -3.0], [0.0, 0.1]])
        found = differential.Shrunk(0.0, np.ones(2) / 2, np.array([[0.0, 1.0]] * 3), sides, np.full((3, 2), 0.1))
        outside, inside = found.beyond(0.25)
        np.testing.assert_allclose(np.log(inside[:2]), stats.norm.logcdf(-2.75 / 0.1), rtol=1e-6)
        assert outside[2] == pytest.approx(stats.norm.cdf(-1.5) + stats.norm.cdf(-3.5)) and outside[0] == pytest.approx(
            1
        )

    @pytest.mark.parametrize(
        ("estimate", "error", "words"),
        [
            ([1.0, 2.0], [1.0], r"shapes \(2,\) and \(1,\)"),
            ([], [], r"shapes \(0,\)"),
            ([np.nan, 1.0], [1.0, 1.0], "must be finite"),
            ([1.0, 2.0], [1.0, 0.0], "each error above 0"),
        ],
    )
    def test_what_does_not_fit_is_named(self, estimate, error, words):
        with pytest.raises(ValueError, match=words):
            differential.shrink(np.array(estimate), np.array(error))


class TestCalling:
    def test_expected_fdr_by_hand(self):
        found = differential.expected_fdr(np.array([0.5, 1.0, 0.8, 0.8]))
        np.testing.assert_allclose(found, [0.9 / 4, 0.0, 0.4 / 3, 0.4 / 3])

    def test_reliability_by_hand(self):
        found = differential.reliability([0.05, 0.5, 0.55, 1.0], [False, True, False, True], n_bins=2)
        assert found["n"].tolist() == [1, 3] and found["came_true"].tolist() == [0, pytest.approx(2 / 3)]
        assert found["claimed"].tolist() == [0.05, pytest.approx(2.05 / 3)]
        assert (found["low"] <= found["came_true"]).all() and (found["high"] >= found["came_true"]).all()

    def test_what_is_no_probability_is_refused(self):
        for use in (differential.expected_fdr, lambda p: differential.reliability(p, np.ones(len(p)))):
            with pytest.raises(ValueError, match="probability between 0 and 1"):
                use(np.array([0.2, 1.2]))
        with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
            differential.reliability([0.1, 0.2], [True, False, True])


class TestTheWhole:
    def test_claims_hold_on_cells_with_known_truth(self):
        tables, truths = [], []
        for seed in (11, 12):
            data = preprocess.drop_empty(simulate.splatter(1000, 400, de_prob=0.15, bcv=(0.3, 0.2), seed=seed))
            tables.append(run(fitted(data, n_epochs=8), data).loc[data.var_names])
            truths.append(truth(data))
        found, true = pd.concat(tables), np.concatenate(truths)
        large, called = np.abs(true) > 0.25, found["is_de"].to_numpy()
        assert called.sum() > 60 and (~large[called]).mean() < 0.12 and called[large].mean() > 0.5
        inside = np.abs(true - found["lfc_mean"]) < 1.645 * found["lfc_std"]
        assert 0.87 < inside.mean() < 0.98
        table = differential.reliability(found["prob_de"], large, 3)
        assert (np.abs(table["claimed"] - table["came_true"]) < 0.2).all()
        assert abs(((found["lfc_observed"] - true) / found["lfc_error"]).std() - 1) < 0.12

    def test_two_halves_of_a_group_call_nothing(self, cells, model):
        half = cells[cells.obs["group"] == "group_0"].copy()
        half.obs["half"] = np.random.default_rng(0).choice(["a", "b"], half.n_obs)
        found = run(model, half, "half", "a")
        assert not found["is_de"].any() and found.attrs["prob_unchanged"] > 0.8

    def test_a_batch_that_goes_with_the_group_is_not_taken_for_an_effect(self, plates):
        data, model = plates
        found = run(model, data, batch_key="plate").loc[data.var_names]
        error = found["lfc_mean"] - data.var["change"] - found.attrs["shift"]
        assert np.abs(error).median() < 0.1 and (found["is_de"] & (data.var["change"] == 0)).sum() <= 2
        blind = run(fitted(data, n_epochs=2), data).loc[data.var_names]
        assert (blind["is_de"] & (data.var["change"] == 0)).sum() > 40

    def test_columns_agree_with_each_other(self, cells, model):
        found = run(model, cells)
        assert found["log_posterior_odds"].is_monotonic_decreasing and set(found.index) == set(cells.var_names)
        finite = found["prob_de"].between(0.01, 0.99)
        odds = found["prob_de"] / (1 - found["prob_de"])
        np.testing.assert_allclose(found["log_posterior_odds"][finite], np.log(odds[finite]), rtol=1e-6)
        np.testing.assert_array_equal(found["is_de"], found["expected_fdr"] <= 0.05)
        np.testing.assert_allclose(found["expected_fdr"], differential.expected_fdr(found["prob_de"]))
        assert found.attrs["n_cells"] == tuple((cells.obs["group"] == name).sum() for name in LABELS[1:])
        stricter = run(model, cells, fdr=1e-4)
        assert 0 < stricter["is_de"].sum() < found["is_de"].sum()
        assert (run(model, cells, delta=1.0).loc[found.index, "prob_de"] <= found["prob_de"] + 1e-12).all()

    def test_the_sides_exchanged_change_the_sign_alone(self, cells, model):
        there, back = run(model, cells), run(model, cells, "group", "group_1", "group_0")
        back = back.loc[there.index]
        np.testing.assert_allclose(back["lfc_observed"], -there["lfc_observed"], rtol=0.02, atol=0.02)
        np.testing.assert_allclose(back["prob_de"], there["prob_de"], atol=0.05)

    def test_a_seed_fixes_the_result_and_torchs_state_is_left_alone(self, cells, model):
        torch.manual_seed(7)
        expected = torch.rand(3)
        torch.manual_seed(7)
        one, same, other = (run(model, cells, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(torch.rand(3), expected)
        assert not model.training
        run(model.train(), cells)
        assert model.training and not model.eval().training
        pd.testing.assert_frame_equal(one, same)
        assert (one["lfc_error"] != other.loc[one.index, "lfc_error"]).any()

    def test_chunks_change_nothing_but_the_order_of_sums(self, cells, model, monkeypatch):
        monkeypatch.setattr(model, "reparameterize", lambda mu, logvar: mu)
        once = run(model, cells)
        monkeypatch.setattr(posterior, "CHUNK", 37)
        pd.testing.assert_frame_equal(run(model, cells).loc[once.index], once, rtol=1e-9)

    def test_a_gene_that_nobody_counted_is_no_obstacle(self, cells, model):
        few = cells[:40].copy()
        silent = np.asarray(few.X.sum(axis=0)).ravel() == 0
        assert silent.any()
        found = run(model, few).loc[few.var_names]
        assert np.isfinite(found["lfc_mean"]).all() and not found["is_de"][silent].any()

    def test_cells_without_a_label_take_no_part(self, cells, model):
        some = cells.copy()
        some.obs["group"] = some.obs["group"].astype(object)
        some.obs.loc[some.obs_names[::5], "group"] = np.nan
        kept = some[some.obs["group"].notna().to_numpy()].copy()
        pd.testing.assert_frame_equal(run(model, some), run(model, kept))

    @pytest.mark.parametrize("settings", [{"gene_likelihood": "zinb"}, {"library": "latent"}])
    def test_every_kind_of_model_will_do(self, cells, settings):
        found = run(fitted(cells, n_epochs=3, **settings), cells)
        assert np.isfinite(found.drop(columns="is_de")).all().all() and found["is_de"].sum() > 3


class TestTheLecturesTest:
    def test_it_counts_what_is_counted_by_hand(self, cells, model):
        a, b = cells.obs_names[[3, 8]]
        found = differential.two_cell_test(model, cells, a, b, k=2e-5, n_samples=700, seed=5).loc[cells.var_names]
        with torch.no_grad():
            mu, logvar = model.encode(torch.tensor(cells.X.toarray()[[3, 8]]).double())
            z = mu + torch.exp(0.5 * logvar) * torch.randn(20000, 2, 4, generator=torch.Generator().manual_seed(1))
            rho = model.decode(z.reshape(40000, 4))[0].reshape(20000, 2, -1)
        beyond = ((rho[:, 0] - rho[:, 1]).abs() > 2e-5).double().mean(dim=0).numpy()
        np.testing.assert_allclose(found["n_h1"] / 700, beyond, atol=0.09)
        np.testing.assert_allclose(found[["rho_a", "rho_b"]], rho.mean(dim=0).T, rtol=0.05)
        assert (found["n_h1"] + found["n_h2"] == 700).all() and (found["is_de"] == (found["odds"] > 2)).all()
        np.testing.assert_allclose(found["odds"], found["n_h1"] / found["n_h2"])
        few = differential.two_cell_test(model, cells, a, b, k=2e-5, n_samples=3)
        assert np.isinf(few["odds"][few["n_h2"] == 0]).all() and few["is_de"].iloc[0] and not few["is_de"].all()

    def test_a_threshold_on_proportions_favours_genes_of_high_expression(self, cells, model):
        a = cells.obs_names[cells.obs["group"] == "group_0"][0]
        b = cells.obs_names[cells.obs["group"] == "group_0"][1]
        found = differential.two_cell_test(model, cells, a, b, k=1e-4, n_samples=200)
        assert found["rho_a"][found["is_de"]].min() > found["rho_a"][~found["is_de"]].median()

    def test_batches_are_averaged_over(self, plates):
        data, model = plates
        pair = data.obs_names[:2]
        found = differential.two_cell_test(model, data, *pair, n_samples=20, batch_key="plate")
        np.testing.assert_allclose(found[["rho_a", "rho_b"]].sum(), 1.0)
        other = data.copy()
        other.obs["plate"] = np.where(data.obs["plate"] == "left", "right", "left")
        pd.testing.assert_frame_equal(
            differential.two_cell_test(model, other, *pair, n_samples=20, batch_key="plate"), found
        )

    @pytest.mark.parametrize(
        ("pair", "settings", "words"),
        [
            (("cell_0", "nobody"), {}, "cell_b is 'nobody', which is none of adata.obs_names"),
            (("cell_0", "cell_0"), {}, "cell_a and cell_b are both 'cell_0'"),
            (("cell_0", "cell_1"), {"k": -1}, "k is -1"),
            (("cell_0", "cell_1"), {"ratio": 0}, "ratio is 0"),
            (("cell_0", "cell_1"), {"n_samples": 0}, "n_samples is 0"),
        ],
    )
    def test_what_does_not_fit_is_named(self, cells, model, pair, settings, words):
        with pytest.raises(ValueError, match=words):
            differential.two_cell_test(model, cells, *pair, **settings)


class TestDecodedGroups:
    @pytest.mark.parametrize("over", ["pairs", "means"])
    def test_draws_are_those_of_the_model(self, cells, model, over, monkeypatch):
        monkeypatch.setattr(model, "reparameterize", lambda mu, logvar: mu)
        found = differential.decoded_test(model, cells, *LABELS, over=over, pseudocount=1e-4, seed=2)
        found = found.loc[cells.var_names]
        with torch.no_grad():
            rho = model.decode(model.encode(torch.tensor(cells.X.toarray()).double())[0])[0].numpy()
        a, b = (rho[(cells.obs["group"] == name).to_numpy()] for name in LABELS[1:])
        if over == "means":
            lfc = np.log2(a.mean(axis=0) + 1e-4) - np.log2(b.mean(axis=0) + 1e-4)
            np.testing.assert_allclose(found["lfc_mean"], lfc, rtol=1e-9)
            np.testing.assert_allclose(found["prob_de"], np.abs(lfc) > 0.25)
        else:
            found, a, b = found[:40], a[:, :40], b[:, :40]
            lfc = (np.log2(a + 1e-4)[:, None] - np.log2(b + 1e-4)).reshape(-1, 40)
            np.testing.assert_allclose(found["lfc_mean"], lfc.mean(axis=0), atol=0.05)
            np.testing.assert_allclose(found["lfc_std"], lfc.std(axis=0), rtol=0.1, atol=1e-3)
            np.testing.assert_allclose(found["prob_de"], (np.abs(lfc) > 0.25).mean(axis=0), atol=0.05)

    def test_calls_are_those_of_the_expected_fdr(self, cells, model):
        found = differential.decoded_test(model, cells, *LABELS, over="means", n_samples=5, fdr=0.1)
        np.testing.assert_array_equal(found["is_de"], differential.expected_fdr(found["prob_de"]) <= 0.1)
        assert found["is_de"].any() and found["prob_de"].is_monotonic_decreasing

    @pytest.mark.parametrize(("name", "value"), [("over", "cells"), ("n_samples", 1), ("pseudocount", 0)])
    def test_settings_are_checked(self, cells, model, name, value):
        with pytest.raises(ValueError, match=f"{name} is"):
            differential.decoded_test(model, cells, *LABELS, **{name: value})


@pytest.mark.parametrize("test", [differential.differential_expression, differential.decoded_test])
class TestWhatDoesNotFit:
    @pytest.mark.parametrize(
        ("labels", "words"),
        [
            (("kind", "group_0"), "no column 'kind'"),
            (("group", "group_9"), "group is 'group_9'"),
            (("group", "group_0", "group_0"), "both 'group_0'"),
            (("one", "yes"), r"group has 1 cell\(s\)"),
        ],
    )
    def test_labels_are_named(self, cells, model, test, labels, words):
        data = cells.copy()
        data.obs["one"] = np.where(np.arange(data.n_obs) == 0, "yes", "no")
        with pytest.raises(ValueError, match=words):
            test(model, data, *labels)

    @pytest.mark.parametrize(("name", "value"), [("delta", 0), ("fdr", -1), ("delta", np.nan)])
    def test_settings_are_above_0(self, cells, model, test, name, value):
        with pytest.raises(ValueError, match=f"{name} is"):
            test(model, cells, *LABELS, **{name: value})

    def test_models_of_other_things_are_refused(self, cells, model, test):
        with pytest.raises(ValueError, match="GeneExprVAE; proportions take a model of counts"):
            test(GeneExprVAE(cells.n_vars), cells, *LABELS)
        with pytest.raises(ValueError, match=r"not been trained; call training\.fit"):
            test(SimpleScVI(cells.n_vars), cells, *LABELS)
        with pytest.raises(ValueError, match="another order"):
            test(model, cells[:, ::-1].copy(), *LABELS)
        with pytest.raises(ValueError, match=f"{cells.n_vars - 1} genes, the model was made for {cells.n_vars}"):
            test(model, cells[:, 1:].copy(), *LABELS)
        with pytest.raises(ValueError, match="expected an AnnData"):
            test(model, cells.X, *LABELS)

    def test_counts_that_are_none_are_refused(self, cells, model, test):
        data = cells.copy()
        data.X = data.X.log1p()
        with pytest.raises(ValueError, match="looks log-normalised"):
            test(model, data, *LABELS)

    def test_batches_are_asked_for_where_the_model_has_them(self, plates, test):
        data, model = plates
        with pytest.raises(ValueError, match="n_batches=2 and the data came without"):
            test(model, data, *LABELS)


def test_groups_that_are_batches_cannot_be_told_apart(plates):
    data, model = plates
    apart = data[(data.obs["group"] == "group_0") == (data.obs["plate"] == "right")].copy()
    with pytest.raises(ValueError, match="no batch of 'plate' has cells of both groups"):
        run(model, apart, batch_key="plate")


def test_counts_of_a_layer_give_what_those_in_x_give(cells, model):
    layered = ad.AnnData(cells.X.log1p(), layers={"counts": cells.X}, obs=cells.obs, var=cells.var)
    pd.testing.assert_frame_equal(run(model, layered, layer="counts"), run(model, cells))


def test_a_given_library_is_the_depth(cells, model):
    data = cells.copy()
    data.obs["depth"] = Cells(cells).library.numpy().ravel() * np.where(data.obs["group"] == "group_0", 2.0, 1.0)
    lfc = [run(model, data, library_key=key)["lfc_observed"] for key in (None, "depth")]
    np.testing.assert_allclose(lfc[1].loc[lfc[0].index], lfc[0] - 1, atol=0.05)
