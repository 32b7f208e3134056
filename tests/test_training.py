"""The training loop: it learns, it repeats itself, it holds cells out, and it stops with something to keep."""

import itertools
import math
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch import nn

from course_lib import latent, preprocess, simulate, training
from course_lib.models import GeneExprAE, LinearAE, P1B1GeneExpressionAE
from course_lib.models.base import mean_loss
from course_lib.training import History, fit

COLUMNS = [f"{cells}_{term}" for cells in ("train", "validation") for term in ("loss", "reconstruction", "kl")]
X = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)


def ae(seed=0, n_genes=12, **arguments) -> GeneExprAE:
    return GeneExprAE(n_genes, 2, (8,), seed=seed, **arguments)


def quick(model, data, **arguments) -> History:
    return fit(model, data, **{"n_epochs": 3, "batch_size": 16, "device": "cpu", "progress": False} | arguments)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Spy(nn.Module):
    """A model that notes what it is shown; the first gene of a cell is the cell's number."""

    def __init__(self, at=None, action=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.shown = {True: [], False: []}  # in training mode, in eval mode
        self.n_calls, self.at, self.action = 0, at, action

    def loss(self, minibatch, kl_weight=1.0):
        self.n_calls += 1
        if self.n_calls == self.at:
            self.action()
        self.shown[self.training].append(minibatch)
        reconstruction = self.weight**2 + minibatch.x[:, 0]
        return mean_loss(reconstruction, torch.zeros_like(reconstruction), kl_weight)

    def cells(self, training: bool) -> list[int]:
        return [int(cell) for minibatch in self.shown[training] for cell in minibatch.x[:, 0]]


def numbered(n=50) -> np.ndarray:
    return np.arange(n, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)


class TestLearning:
    def test_loss_falls_on_training_and_held_out_cells(self):
        adata = simulate.three_clusters(60, 30, mean_count=10)
        preprocess.log_normalize(adata)
        table = quick(ae(n_genes=30), adata, layer="log_normalized", n_epochs=30, lr=3e-3).table()
        assert table["train_loss"].iloc[-1] < 0.3 * table["train_loss"].iloc[0]
        assert table["validation_loss"].iloc[-1] < 0.3 * table["validation_loss"].iloc[0]

    def test_a_linear_autoencoder_comes_to_the_error_of_pca(self):
        rng = np.random.default_rng(1)
        x = rng.normal(size=(200, 3)) * [3, 2, 0.3] @ np.linalg.qr(rng.normal(size=(8, 3)))[0].T
        x = (x - x.mean(0)).astype(np.float32)
        history = quick(LinearAE(8, 2), x, n_epochs=150, lr=3e-2, schedule="cosine", validation=0)
        pca_error = (np.linalg.svd(x, compute_uv=False)[2:] ** 2).sum() / len(x)
        assert history.table()["train_loss"].iloc[-1] == pytest.approx(pca_error, rel=0.02)

    def test_one_step_is_adams_step(self):
        model = Spy()
        quick(model, numbered(4), n_epochs=1, batch_size=99, lr=0.1, validation=0)
        # Adam's first step is lr · g / (|g| + 1e-8), whatever the gradient's size
        assert model.weight.item() == pytest.approx(0.9, abs=1e-6)

    def test_the_model_is_trained_in_place_and_ends_in_eval_mode_on_the_device(self):
        model = P1B1GeneExpressionAE(12, 2, (8,))
        before = weights(model)
        quick(model, X)
        assert not model.training and not any(part.training for part in model.modules())
        assert not torch.equal(before, weights(model))
        assert {p.device for p in model.parameters()} == {torch.device("cpu")}

    def test_auto_device_is_cuda_where_there_is_one(self):
        model = ae()
        quick(model, X, device="auto")
        assert next(model.parameters()).device.type == ("cuda" if torch.cuda.is_available() else "cpu")

    def test_data_are_left_as_they_were(self):
        adata = simulate.three_clusters(10, 12, mean_count=10)
        before = adata.copy()
        quick(ae(), adata)
        assert (adata.X != before.X).nnz == 0 and adata.obs.equals(before.obs) and list(adata.layers) == ["true_rate"]


class TestSeed:
    def test_the_same_seed_gives_bit_identical_weights_and_history(self):
        runs = []
        for _ in range(2):
            torch.rand(7)  # whatever was drawn before
            model = P1B1GeneExpressionAE(12, 2, (8,), seed=1)
            runs.append((quick(model, X, seed=4), weights(model)))
        assert torch.equal(runs[0][1], runs[1][1]) and runs[0][0].records == runs[1][0].records
        np.testing.assert_array_equal(runs[0][0].validation_cells, runs[1][0].validation_cells)

    def test_another_seed_gives_other_held_out_cells_and_another_history(self):
        first, other = (quick(ae(seed=1), X, seed=seed) for seed in (4, 5))
        assert set(first.validation_cells) != set(other.validation_cells)
        assert first.records != other.records

    def test_seed_decides_dropout_even_where_the_order_of_cells_does_not_matter(self):
        first, again, other = (
            quick(P1B1GeneExpressionAE(12, 2, (8,), dropout=0.5), X, validation=0, batch_size=60, n_epochs=1, seed=seed)
            for seed in (1, 1, 2)
        )
        assert first.records == again.records
        assert abs(first.records[0]["train_loss"] - other.records[0]["train_loss"]) > 1e-4

    def test_global_random_states_are_left_alone(self):
        states = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
        quick(P1B1GeneExpressionAE(12, 2, (8,)), X)
        assert torch.equal(states[0], torch.get_rng_state())
        assert states[1] == np.random.get_state()[1].tolist()  # noqa: NPY002

    def test_whether_progress_is_shown_changes_no_result(self):
        first, second = ae(), ae()
        quick(first, X, progress=True)
        quick(second, X, progress=False)
        assert torch.equal(weights(first), weights(second))


class TestDoors:
    def histories(self, *pairs):
        return [pd.DataFrame(quick(ae(), data, **arguments).records) for data, arguments in pairs]

    def test_sparse_dense_and_anndata_layer_give_the_same_history(self):
        adata = simulate.three_clusters(20, 12, mean_count=10)
        logs = preprocess.log_normalize(adata)
        first, *others = self.histories(
            (logs.toarray(), {}),
            (logs, {}),
            (logs.tocsc(), {}),
            (torch.tensor(logs.toarray()), {}),
            (adata, {"layer": "log_normalized"}),
        )
        for other in others:
            np.testing.assert_allclose(other, first, rtol=1e-5)

    def test_sparse_data_are_never_made_dense_as_a_whole(self, monkeypatch):
        adata = simulate.three_clusters(20, 12, mean_count=10)

        def refuse(*args, **kwargs):
            raise AssertionError("a sparse matrix was made dense as a whole")

        for kind in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
            for name in ("toarray", "todense", "__array__"):
                monkeypatch.setattr(kind, name, refuse, raising=False)
        model = ae()
        assert len(quick(model, adata).records) == 3
        assert latent.embed(model, adata).shape == (60, 2)

    def test_a_minibatch_carries_library_and_batch_of_its_own_cells(self):
        obs = pd.DataFrame(
            {"depth": 10.0 + np.arange(50), "plate": np.where(np.arange(50) < 20, "a", "b")},
            index=[f"c{i}" for i in range(50)],
        )
        model = Spy()
        quick(model, ad.AnnData(numbered() + 1, obs=obs), library_key="depth", batch_key="plate")
        for minibatch in model.shown[True] + model.shown[False]:
            cell = minibatch.x[:, 0] - 1
            torch.testing.assert_close(minibatch.library[:, 0], cell + 10)
            assert torch.equal(minibatch.batch_index, (cell >= 20).long())


class TestHeldOut:
    @pytest.mark.parametrize(
        ("n_cells", "validation", "expected"),
        [(50, 0.1, 5), (50, 0.5, 25), (50, 0.001, 1), (50, 0.999, 49), (3, 0.1, 1), (2, 0.5, 1), (50, 0, 0)],
    )
    def test_the_fraction_asked_for_is_held_out_at_least_one_cell_and_never_all(self, n_cells, validation, expected):
        history = quick(Spy(), numbered(n_cells), validation=validation)
        assert len(history.validation_cells) == len(set(history.validation_cells)) == expected

    def test_held_out_cells_are_never_seen_in_training_and_all_others_once_an_epoch(self):
        model = Spy()
        history = quick(model, numbered(), validation=0.2, n_epochs=3, batch_size=7)
        held_out = set(history.validation_cells.tolist())
        seen = np.array(model.cells(training=True)).reshape(3, 40)
        for epoch in seen:
            assert sorted(epoch) == sorted(set(range(50)) - held_out)
        assert not np.array_equal(seen[0], seen[1])  # shuffled anew
        assert sorted(model.cells(training=False)) == sorted(list(held_out) * 3)

    def test_validation_is_in_eval_mode_without_gradients(self):
        class Nosy(Spy):
            def loss(self, minibatch, kl_weight=1.0):
                assert torch.is_grad_enabled() == self.training
                return super().loss(minibatch, kl_weight)

        model = Nosy()
        quick(model, numbered())
        assert model.shown[True] and model.shown[False]

    def test_training_values_average_over_cells_and_not_over_minibatches(self):
        model = Spy()
        with torch.no_grad():
            model.weight.zero_()  # a stationary point: the loss of a cell stays its number
        record = quick(model, numbered(), validation=0, batch_size=49, n_epochs=1).records[0]
        assert record["train_loss"] == pytest.approx(np.arange(50).mean(), rel=1e-6)

    def test_validation_values_are_the_models_loss_on_the_held_out_cells(self):
        model = ae()
        history = quick(model, X, validation=0.25)
        x = X[history.validation_cells]
        expected = ((x - latent.reconstruct(model, x)) ** 2).sum(1).mean()
        last = history.records[-1]
        assert last["validation_loss"] == last["validation_reconstruction"] == pytest.approx(expected, rel=1e-5)
        assert last["validation_kl"] == 0

    def test_evaluate_weighs_a_last_smaller_part_by_its_cells(self):
        model, cells = Spy(), training.Cells(numbered(1500))
        with torch.no_grad():
            model.weight.zero_()
        terms = training.evaluate(model, cells, torch.arange(1500))
        assert len(model.shown[False]) > 1 and terms.tolist() == pytest.approx([749.5, 749.5, 0.0])

    @pytest.mark.parametrize("batch_size", [1, 7, 60, 10_000])
    def test_every_batch_size_works_also_above_the_number_of_cells(self, batch_size):
        model = Spy()
        quick(model, numbered(), batch_size=batch_size, validation=0, n_epochs=2)
        sizes = [len(minibatch.x) for minibatch in model.shown[True]]
        assert sum(sizes) == 100 and max(sizes) == min(batch_size, 50)


class TestHistory:
    def test_table_has_one_row_per_epoch_counted_from_one(self):
        history = quick(ae(), X, n_epochs=4)
        table = history.table()
        assert (
            list(table.columns) == [*COLUMNS, "kl_weight"]
            and list(table.index) == [1, 2, 3, 4]
            and table.index.name == "epoch"
        )
        assert np.isfinite(table.to_numpy()).all() and history.stopped is None

    def test_without_held_out_cells_there_are_no_validation_columns(self):
        history = quick(ae(), X, validation=0)
        assert list(history.table().columns) == [*COLUMNS[:3], "kl_weight"] and history.validation_cells.shape == (0,)

    @pytest.mark.parametrize(
        ("output", "unit"), [("real", "squared error"), ("composition", "nats"), ("probability", "nats")]
    )
    def test_unit_is_the_models(self, output, unit):
        history = quick(ae(output=output), np.full((20, 12), 1 / 12, np.float32))
        assert unit in history.unit and "per cell" in history.unit

    def test_a_model_without_a_unit_gets_a_plain_one(self):
        assert quick(Spy(), numbered()).unit == "loss per cell"

    def test_loss_is_reconstruction_plus_kl(self):
        class WithKL(Spy):
            def loss(self, minibatch, kl_weight=1.0):
                reconstruction = self.weight**2 + minibatch.x[:, 0]
                return mean_loss(reconstruction, torch.full_like(reconstruction, 2.5), kl_weight)

        table = quick(WithKL(), numbered()).table()
        np.testing.assert_allclose(table["train_kl"], 2.5)
        np.testing.assert_allclose(table["train_loss"], table["train_reconstruction"] + table["train_kl"], rtol=1e-6)


class TestSchedule:
    def rates(self, monkeypatch, **arguments) -> list[float]:
        rates = []

        class Recording(torch.optim.Adam):
            def step(self, closure=None):
                rates.append(self.param_groups[0]["lr"])
                return super().step(closure)

        monkeypatch.setattr(torch.optim, "Adam", Recording)
        quick(ae(), X, batch_size=99, lr=0.01, **arguments)
        return rates

    def test_constant_rate_stays(self, monkeypatch):
        assert self.rates(monkeypatch, n_epochs=5) == [0.01] * 5

    def test_cosine_starts_at_the_rate_is_half_of_it_half_way_and_ends_near_zero(self, monkeypatch):
        rates = self.rates(monkeypatch, n_epochs=20, schedule="cosine")
        assert rates[0] == 0.01 and rates[10] == pytest.approx(0.005)
        assert 0 < rates[-1] < 0.01 * 0.01 and all(a > b for a, b in itertools.pairwise(rates))


class TestWeightOfTheKL:
    class OneNat(Spy):
        """KL 1 and reconstruction 0 for each cell, so that the loss is the weight."""

        def loss(self, minibatch, kl_weight=1.0):
            self.shown[self.training].append(kl_weight)
            zero = 0 * self.weight * minibatch.x[:, 0]
            return mean_loss(zero, zero + 1, kl_weight)

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, [1, 1, 1, 1, 1, 1]),
            ({"kl_weight": 0.5}, [0.5] * 6),
            ({"kl_weight": 0}, [0] * 6),
            ({"kl_warmup": 4}, [0, 0.25, 0.5, 0.75, 1, 1]),
            ({"kl_warmup": 1}, [0, 1, 1, 1, 1, 1]),
            ({"kl_warmup": 12, "kl_weight": 2}, [0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]),  # never gets there
        ],
    )
    def test_it_rises_in_equal_steps_and_each_epoch_trains_with_what_is_recorded(self, settings, expected):
        model = self.OneNat()
        table = quick(model, numbered(), n_epochs=6, **settings).table()
        np.testing.assert_allclose(table["kl_weight"], expected)
        np.testing.assert_allclose(table["train_loss"], expected, rtol=1e-6)
        np.testing.assert_allclose(model.shown[True], np.repeat(expected, 3))

    def test_validation_is_at_the_final_weight_from_the_first_epoch_on(self):
        model = self.OneNat()
        table = quick(model, numbered(), n_epochs=3, kl_warmup=5, kl_weight=0.5).table()
        assert table["validation_loss"].tolist() == model.shown[False] == [0.5] * 3
        assert table["validation_kl"].tolist() == [1.0] * 3

    @pytest.mark.parametrize("kl_weight", [-0.1, float("nan"), float("inf"), None, "1"])
    def test_a_weight_that_is_no_number_from_zero_up_is_refused(self, kl_weight):
        with pytest.raises(ValueError, match="kl_weight is"):
            quick(ae(), X, kl_weight=kl_weight)

    @pytest.mark.parametrize("kl_warmup", [-1, 1.5, None])
    def test_a_warm_up_that_is_no_whole_number_of_epochs_is_refused(self, kl_warmup):
        with pytest.raises(ValueError, match=f"kl_warmup is {kl_warmup}; it is a whole number, at least 0"):
            quick(ae(), X, kl_warmup=kl_warmup)


class TestStopping:
    @pytest.mark.parametrize("validation", [0, 0.2])
    def test_an_interrupt_leaves_history_and_model_as_they_are(self, validation):
        def interrupt():
            raise KeyboardInterrupt

        calls_per_epoch = math.ceil((50 - 50 * validation) / 16) + (validation > 0)
        model = Spy(at=2 * calls_per_epoch + 2, action=interrupt)
        before = torch.get_rng_state()
        history = quick(model, numbered(), n_epochs=9, validation=validation)
        assert history.stopped == "interrupted" and len(history.records) == len(history.table()) == 2
        assert not model.training and torch.isfinite(model.weight).all() and model.weight.item() != 1
        assert torch.equal(before, torch.get_rng_state())

    def test_an_interrupted_autoencoder_still_embeds_and_trains_on(self, monkeypatch):
        model, real, calls = ae(), GeneExprAE.loss, []

        def loss(self, minibatch, kl_weight=1.0):
            calls.append(1)
            if len(calls) == 6:
                raise KeyboardInterrupt
            return real(self, minibatch, kl_weight)

        monkeypatch.setattr(GeneExprAE, "loss", loss)
        assert quick(model, X).stopped == "interrupted"
        assert np.isfinite(latent.embed(model, X)).all()
        assert quick(model, X).stopped is None

    def test_an_interrupt_in_the_first_epoch_gives_an_empty_history(self):
        def interrupt():
            raise KeyboardInterrupt

        history = quick(Spy(at=1, action=interrupt), numbered())
        assert history.stopped == "interrupted" and len(history.table()) == 0

    def test_another_error_is_passed_on_and_leaves_eval_mode(self):
        def fail():
            raise RuntimeError("out of memory")

        model = Spy(at=3, action=fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            quick(model, numbered())
        assert not model.training

    def test_a_loss_that_is_not_finite_stops_training_with_a_warning(self):
        with pytest.warns(UserWarning, match=r"not finite in epoch \d.*lower lr") as caught:
            history = quick(ae(), X * 1e18, lr=1e18, n_epochs=20)
        assert history.stopped == "diverged" and len(history.records) < 20
        assert np.isfinite(history.table().to_numpy()).all()
        assert caught[0].filename == __file__

    def test_divergence_in_the_very_last_step_is_seen_on_the_held_out_cells(self):
        with pytest.warns(UserWarning, match="not finite in epoch 1"):
            history = quick(ae(), X, lr=1e30, n_epochs=1, batch_size=99)
        assert history.stopped == "diverged" and not history.records

    def test_a_full_run_warns_of_nothing(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            quick(ae(), X, schedule="cosine")
            quick(ae(), sparse.csr_matrix(X))
            quick(ae(), ad.AnnData(sparse.csr_matrix(X)))


class TestProgress:
    @pytest.fixture(autouse=True)
    def bars_are_allowed(self, monkeypatch):
        monkeypatch.delenv("TQDM_DISABLE", raising=False)

    def test_a_bar_over_epochs_is_shown_with_the_loss(self, capsys):
        quick(ae(), X, progress=True, n_epochs=2)
        shown = capsys.readouterr()
        assert "2/2" in shown.err and "loss=" in shown.err and shown.out == ""

    def test_nothing_is_shown_without_progress(self, capsys):
        quick(ae(), X, progress=False)
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize(("value", "shown"), [("1", False), ("true", False), ("0", True), ("", True)])
    def test_the_environment_can_switch_the_bar_off(self, monkeypatch, capsys, value, shown):
        monkeypatch.setenv("TQDM_DISABLE", value)
        quick(ae(), X, progress=True)
        assert bool(capsys.readouterr().err) == shown


class TestBadSettings:
    @pytest.mark.parametrize("name", ["n_epochs", "batch_size"])
    @pytest.mark.parametrize("value", [0, -1, 1.5, float("nan"), float("inf"), None, "ten", "10"])
    def test_a_number_of_epochs_or_cells_that_is_no_whole_number_is_refused(self, name, value):
        with pytest.raises(ValueError, match=f"{name} is {value!r}; it is a whole number"):
            quick(ae(), X, **{name: value})

    @pytest.mark.parametrize("name", ["n_epochs", "batch_size"])
    @pytest.mark.parametrize("value", [2.0, np.int64(2), np.float32(2)])
    def test_a_whole_number_of_another_type_is_taken(self, name, value):
        assert quick(ae(), X, **{name: value}).stopped is None

    @pytest.mark.parametrize("lr", [0, -1e-3, float("nan"), float("inf"), None, "1e-3"])
    def test_a_rate_that_is_no_positive_number_is_refused(self, lr):
        with pytest.raises(ValueError, match="learning rate is a finite number above 0"):
            quick(ae(), X, lr=lr)

    @pytest.mark.parametrize("schedule", ["linear", None, "Cosine"])
    def test_an_unknown_schedule_is_answered_with_the_two_there_are(self, schedule):
        with pytest.raises(ValueError, match='choose "constant" or "cosine"'):
            quick(ae(), X, schedule=schedule)

    @pytest.mark.parametrize("validation", [1, 1.5, -0.1, float("nan")])
    def test_a_fraction_that_leaves_no_training_cell_is_refused(self, validation):
        with pytest.raises(ValueError, match="fraction of cells held out"):
            quick(ae(), X, validation=validation)

    def test_a_wrong_device_is_refused(self, monkeypatch):
        with pytest.raises(ValueError, match="device is 'gpu'"):
            quick(ae(), X, device="gpu")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ValueError, match="no CUDA device"):
            quick(ae(), X, device="cuda")

    @pytest.mark.parametrize("n_cells", [0, 1])
    def test_too_few_cells_are_refused(self, n_cells):
        with pytest.raises(ValueError, match="at least"):
            quick(ae(), X[:n_cells])

    @pytest.mark.parametrize(
        ("data", "arguments", "words"),
        [
            (X[:, :5], {}, "5 genes, the model was made for 12"),
            (X[0], {}, "shape"),
            (X[None], {}, "shape"),
            (np.where(X > 1, np.nan, X), {}, "NaN"),
            (X.astype(str), {}, "dtype <U"),
            (ad.AnnData(X.astype(str)), {}, "dtype <U"),
            (X, {"layer": "counts"}, "layer needs an AnnData"),
            (X, {"library_key": "n", "batch_key": "b"}, "library_key, batch_key needs an AnnData"),
            (ad.AnnData(X), {"layer": "log_normalized"}, r"preprocess\.log_normalize"),
            (ad.AnnData(X), {"library_key": "n_counts"}, "no column 'n_counts'"),
            (ad.AnnData(X), {"batch_key": "donor"}, "no column 'donor'"),
        ],
    )
    def test_data_that_cannot_be_trained_on_are_named(self, data, arguments, words):
        with pytest.raises(ValueError, match=words):
            quick(ae(), data, **arguments)

    @pytest.mark.parametrize(
        ("output", "words"), [("probability", "between 0 and 1"), ("composition", "between 0 and 1")]
    )
    def test_data_that_do_not_fit_the_output_are_named_before_training(self, output, words):
        model = ae(output=output)
        before = weights(model)
        with pytest.raises(ValueError, match=words):
            quick(model, X)
        assert torch.equal(before, weights(model))
