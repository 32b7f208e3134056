"""Autoencoders: the lecture's layers, outputs that fit the input, losses per cell; and what all models share."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import models
from course_lib.models import Autoencoder, GeneExprAE, LinearAE, Loss, Minibatch, P1B1GeneExpressionAE
from course_lib.models.base import local_seed, mean_loss, multilayer

N_GENES = 20
MAKERS = {
    "GeneExprAE": lambda **k: GeneExprAE(N_GENES, 3, (8, 6), **k),
    "P1B1": lambda **k: P1B1GeneExpressionAE(N_GENES, 3, (8, 6), **k),
    "LinearAE": lambda **k: LinearAE(N_GENES, 3, **k),
}


def cells(n=7, n_genes=N_GENES, seed=0, kind="real") -> torch.Tensor:
    x = torch.randn(n, n_genes, generator=torch.Generator().manual_seed(seed))
    return {"real": x, "probability": torch.sigmoid(x), "composition": torch.softmax(x, 1)}[kind]


def minibatch(x: torch.Tensor) -> Minibatch:
    return Minibatch(x, x.sum(1, keepdim=True), torch.zeros(len(x), dtype=torch.int64))


def widths(part: nn.Sequential) -> list[int]:
    linear = [layer for layer in part if isinstance(layer, nn.Linear)]
    return [linear[0].in_features, *(layer.out_features for layer in linear)]


def kinds(part: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in part]


class TestArchitecture:
    def test_gene_expr_ae_is_the_lectures(self):
        model = GeneExprAE(1000)
        assert widths(model.encoder) == [1000, 512, 256, 32] and widths(model.decoder) == [32, 256, 512, 1000]
        assert kinds(model.encoder) == kinds(model.decoder) == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
        assert (model.n_genes, model.n_latent, model.output) == (1000, 32, "real")

    def test_p1b1_is_the_benchmarks_with_nine_and_a_half_million_weights_at_a_thousand_genes(self):
        model = P1B1GeneExpressionAE(1000)
        assert widths(model.encoder) == [1000, 2048, 1024, 512, 128]
        assert widths(model.decoder) == [128, 512, 1024, 2048, 1000]
        hidden = ["Linear", "ReLU", "Dropout"] * 3
        assert kinds(model.encoder) == kinds(model.decoder) == [*hidden, "Linear"]
        assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)} == {0.2}
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(9.5e6, rel=0.01)

    def test_linear_ae_is_two_linear_layers(self):
        model = LinearAE(N_GENES, 2)
        assert kinds(model.encoder) == kinds(model.decoder) == ["Linear"]
        x, y = cells(seed=1), cells(seed=2)
        a, b, both, zero = (model(v)[0] for v in (x, y, x + y, torch.zeros_like(x)))
        torch.testing.assert_close(both, a + b - zero)  # affine: f(x + y) = f(x) + f(y) − f(0)

    @pytest.mark.parametrize("name", MAKERS)
    def test_encode_decode_and_forward_fit_together(self, name):
        model = MAKERS[name]().eval()
        x = cells()
        x_hat, z = model(x)
        assert z.shape == (7, 3) and x_hat.shape == x.shape
        torch.testing.assert_close(model.encode(x), z)
        torch.testing.assert_close(model.decode(z), x_hat)

    def test_dropout_zero_leaves_no_dropout_layer(self):
        assert "Dropout" not in kinds(P1B1GeneExpressionAE(N_GENES, 3, (8,), dropout=0.0).encoder)

    def test_dropout_is_on_in_training_and_off_in_eval_mode(self):
        model, x = P1B1GeneExpressionAE(N_GENES, 3, (64,)), cells()
        model.train()
        with local_seed(0):
            assert not torch.equal(model(x)[0], model(x)[0])
        model.eval()
        torch.testing.assert_close(model(x)[0], model(x)[0], rtol=0, atol=0)

    @pytest.mark.parametrize("name", MAKERS)
    def test_seed_decides_the_starting_weights(self, name):
        first, again, other = (
            torch.cat([p.flatten() for p in MAKERS[name](seed=seed).parameters()]) for seed in (1, 1, 2)
        )
        assert torch.equal(first, again) and not torch.equal(first, other)

    def test_an_autoencoder_of_ones_own_layers_works(self):
        model = Autoencoder(nn.Sequential(nn.Linear(5, 2), nn.Tanh(), nn.Linear(2, 1)), nn.Sequential(nn.Linear(1, 5)))
        assert (model.n_genes, model.n_latent) == (5, 1)
        assert model.loss(minibatch(cells(4, 5))).reconstruction.shape == (4,)

    def test_whole_numbers_written_as_floats_are_sizes_too(self):
        assert widths(GeneExprAE(2e1, 2.0, (8.0,)).encoder) == [20, 8, 2]


class TestOutput:
    def test_real_output_is_linear_and_may_be_negative(self):
        model = GeneExprAE(N_GENES, 3, (8,))
        torch.testing.assert_close(model(cells())[0], model.decoder(model.encoder(cells())))
        assert model(10 * cells())[0].min() < 0

    def test_probability_output_lies_between_zero_and_one(self):
        x_hat = GeneExprAE(N_GENES, 3, (8,), output="probability")(100 * cells())[0]
        assert x_hat.min() >= 0 and x_hat.max() <= 1 and x_hat.std() > 0.05

    def test_composition_output_sums_to_one_over_genes(self):
        x_hat = GeneExprAE(N_GENES, 3, (8,), output="composition")(100 * cells())[0]
        assert x_hat.min() >= 0
        torch.testing.assert_close(x_hat.sum(1), torch.ones(7))

    @pytest.mark.parametrize("output", ["linear", "", None, "Real"])
    def test_an_unknown_output_is_answered_with_the_three_there_are(self, output):
        with pytest.raises(ValueError, match="'real', 'probability', 'composition'"):
            GeneExprAE(N_GENES, output=output)


class TestLoss:
    def test_real_loss_is_the_squared_error_summed_over_genes(self):
        model, x = GeneExprAE(N_GENES, 3, (8,)), cells()
        loss = model.loss(minibatch(x))
        each = nn.functional.mse_loss(model(x)[0], x, reduction="none").mean(1) * N_GENES
        torch.testing.assert_close(loss.reconstruction, each)

    def test_probability_loss_is_the_binary_cross_entropy_summed_over_genes(self):
        model, x = GeneExprAE(N_GENES, 3, (8,), output="probability"), cells(kind="probability")
        each = nn.functional.binary_cross_entropy(model(x)[0], x, reduction="none").sum(1)
        torch.testing.assert_close(model.loss(minibatch(x)).reconstruction, each)

    def test_composition_loss_is_the_cross_entropy_summed_over_genes(self):
        model, x = GeneExprAE(N_GENES, 3, (8,), output="composition"), cells(kind="composition")
        each = nn.functional.cross_entropy(model.decoder(model.encode(x)), x, reduction="none")
        torch.testing.assert_close(model.loss(minibatch(x)).reconstruction, each)
        torch.testing.assert_close(-(x * model(x)[0].log()).sum(1), each)

    @pytest.mark.parametrize("name", MAKERS)
    def test_scalar_is_the_mean_over_cells_and_kl_is_zero(self, name):
        loss = MAKERS[name]().eval().loss(minibatch(cells()), kl_weight=3.0)
        assert isinstance(loss, Loss) and loss.loss.shape == () and loss.reconstruction.shape == (7,)
        assert torch.equal(loss.kl, torch.zeros(7))
        torch.testing.assert_close(loss.loss, loss.reconstruction.sum() / 7)

    def test_a_cells_loss_does_not_depend_on_its_minibatch(self):
        model, x = GeneExprAE(N_GENES, 3, (8,)), cells()
        alone = torch.cat([model.loss(minibatch(x[[i]])).reconstruction for i in range(7)])
        torch.testing.assert_close(model.loss(minibatch(x)).reconstruction, alone)

    @pytest.mark.parametrize("output", ["real", "probability", "composition"])
    def test_gradients_agree_with_finite_differences(self, output):
        model = GeneExprAE(4, 2, (3,), output=output).double()
        x = cells(3, 4, kind=output).double()

        def loss_of(bias):
            return torch.func.functional_call(Wrapped(model), {"model.decoder.2.bias": bias}, (x,))

        bias = model.decoder[-1].bias.detach().clone().requires_grad_()
        assert torch.autograd.gradcheck(loss_of, [bias])

    def test_names_its_unit(self):
        units = {kind: GeneExprAE(N_GENES, 2, (4,), output=kind).loss_unit for kind in models.autoencoder.LOSS_UNITS}
        assert units["real"] == "squared error per cell" and all("per cell" in unit for unit in units.values())
        assert "nats" in units["probability"] and "nats" in units["composition"]


class Wrapped(nn.Module):
    """A module whose forward is the loss of another."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.loss(minibatch(x)).loss


class TestCheckData:
    @pytest.mark.parametrize("output", ["real", "probability", "composition"])
    def test_data_that_fit_pass(self, output):
        GeneExprAE(N_GENES, 2, (4,), output=output).check_data(cells(kind=output))

    @pytest.mark.parametrize("output", ["probability", "composition"])
    @pytest.mark.parametrize(("low", "high"), [(0, 7), (-0.5, 0.5)])
    def test_data_outside_zero_to_one_are_refused_with_their_range(self, output, low, high):
        x = torch.linspace(low, high, N_GENES).reshape(1, -1)
        with pytest.raises(ValueError, match=f"between 0 and 1, the data run from {low} to {high}"):
            GeneExprAE(N_GENES, 2, (4,), output=output).check_data(x)

    def test_cells_that_do_not_sum_to_one_are_refused_with_their_sum(self):
        with pytest.raises(ValueError, match=r"sum to 1.*target_sum=1.*sums to 2"):
            GeneExprAE(N_GENES, 2, (4,), output="composition").check_data(torch.full((3, N_GENES), 0.1))


@pytest.mark.parametrize("make", [GeneExprAE, P1B1GeneExpressionAE, LinearAE])
@pytest.mark.parametrize("size", [0, -3, 2.5, float("nan"), float("inf"), None, "10"])
def test_sizes_that_are_no_whole_number_are_refused(make, size):
    with pytest.raises(ValueError, match="whole number, at least 1"):
        make(size)
    with pytest.raises(ValueError, match="whole number, at least 1"):
        make(10, size)
    if make is not LinearAE:
        with pytest.raises(ValueError, match="whole number, at least 1"):
            make(10, 2, (8, size))


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5, float("nan")])
def test_a_dropout_that_is_no_probability_is_refused(dropout):
    with pytest.raises(ValueError, match="dropout"):
        P1B1GeneExpressionAE(10, 2, (4,), dropout=dropout)


@pytest.mark.parametrize("name", MAKERS)
def test_a_saved_state_dict_loads_with_weights_only_and_gives_the_same_model(name):
    model, x = MAKERS[name](seed=1).eval(), cells()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = MAKERS[name](seed=2).eval()
    assert not torch.equal(other(x)[0], model(x)[0])
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x)[0], model(x)[0])


@pytest.mark.parametrize("name", MAKERS)
def test_weights_start_as_torchs_own_linear_layers_do(name):
    """Kaiming-uniform with a = √5: uniform on ±1/√n_in, for weights and biases."""
    for layer in MAKERS[name](seed=0).modules():
        if isinstance(layer, nn.Linear):
            bound = 1 / np.sqrt(layer.in_features)
            assert layer.weight.abs().max() <= bound and layer.bias.abs().max() <= bound
            if layer.weight.numel() > 100:
                assert layer.weight.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.2)


class TestBase:
    def test_mean_loss_weighs_the_kl_and_averages_over_cells(self):
        loss = mean_loss(torch.tensor([1.0, 3.0]), torch.tensor([10.0, 20.0]), kl_weight=0.5)
        assert loss.loss.item() == (1 + 5 + 3 + 10) / 2
        assert loss.reconstruction.tolist() == [1, 3] and loss.kl.tolist() == [10, 20]
        assert mean_loss(torch.tensor([1.0]), torch.tensor([2.0])).loss.item() == 3

    def test_multilayer_puts_relu_between_layers_and_none_after_the_last(self):
        assert kinds(multilayer([4, 3, 2])) == ["Linear", "ReLU", "Linear"]
        assert kinds(multilayer([4, 3, 2], dropout=0.5)) == ["Linear", "ReLU", "Dropout", "Linear"]
        assert kinds(multilayer([4, 2], dropout=0.5)) == ["Linear"]

    def test_local_seed_repeats_its_draws_and_puts_the_global_state_back(self):
        before = torch.get_rng_state()
        draws = []
        for seed in (5, 5, 6):
            with local_seed(seed):
                draws.append(torch.rand(3))
        assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
        assert torch.equal(before, torch.get_rng_state())

    def test_local_seed_puts_the_state_back_after_an_error(self):
        before = torch.get_rng_state()
        with pytest.raises(KeyboardInterrupt), local_seed(1):
            torch.rand(3)
            raise KeyboardInterrupt
        assert torch.equal(before, torch.get_rng_state())

    def test_local_seed_on_the_cpu_leaves_the_seeds_of_all_gpus_alone(self, monkeypatch):
        seeded = []
        monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
        monkeypatch.setattr(torch.cuda, "manual_seed", seeded.append)
        with local_seed(1):
            pass
        with local_seed(1, torch.device("cpu")):
            pass
        assert seeded == []
