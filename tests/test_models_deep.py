"""Deep autoencoders: the layers asked for, the spread of their starting weights, the kinds of input."""

import itertools
from importlib.resources import files

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import datasets
from course_lib.models import DeepAutoencoder, Minibatch
from course_lib.models.base import local_seed
from course_lib.models.deep import CURVES_SIZES, trained_on_curves

SIZES = (300, 200, 7)


def linear(part: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in part if isinstance(layer, nn.Linear)]


def minibatch(x: torch.Tensor) -> Minibatch:
    return Minibatch(x, x.sum(1, keepdim=True), torch.zeros(len(x), dtype=torch.int64))


class TestLayers:
    def test_the_network_for_curves_is_that_of_2006(self):
        model = DeepAutoencoder(CURVES_SIZES)
        widths = [784, 400, 200, 100, 50, 25, 6]
        assert [(a.in_features, a.out_features) for a in linear(model.encoder)] == list(itertools.pairwise(widths))
        assert [(a.in_features, a.out_features) for a in linear(model.decoder)] == list(
            itertools.pairwise(widths[::-1])
        )
        assert (model.n_genes, model.n_latent, model.output) == (784, 6, "probability")

    @pytest.mark.parametrize(
        ("activation", "kind"),
        [("relu", "ReLU"), ("sigmoid", "Sigmoid"), ("tanh", "Tanh"), ("none", "Identity")],
    )
    def test_the_activation_stands_between_layers_and_not_at_the_code_or_the_output(self, activation, kind):
        model = DeepAutoencoder((5, 4, 3, 2), activation)
        for part in (model.encoder, model.decoder):
            assert [type(layer).__name__ for layer in part] == ["Linear", kind, "Linear", kind, "Linear"]

    @pytest.mark.parametrize(
        ("activation", "function"),
        [
            ("relu", lambda a: a.clamp(min=0)),
            ("sigmoid", lambda a: 1 / (1 + (-a).exp())),
            ("tanh", lambda a: 1 - 2 / (1 + (2 * a).exp())),
        ],
    )
    def test_forward_is_matrix_products_with_the_function_between(self, activation, function):
        model = DeepAutoencoder((5, 4, 2), activation, output="real").double()
        x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        with torch.no_grad():
            (a, b), (c, d) = linear(model.encoder), linear(model.decoder)
            z = function(x @ a.weight.T + a.bias) @ b.weight.T + b.bias
            x_hat = function(z @ c.weight.T + c.bias) @ d.weight.T + d.bias
            torch.testing.assert_close(model(x), (x_hat, z))

    def test_two_sizes_make_a_linear_code_without_hidden_layers(self):
        model = DeepAutoencoder((5, 2))
        assert len(model.encoder) == len(model.decoder) == 1

    def test_whole_numbers_written_as_floats_are_sizes_too(self):
        assert DeepAutoencoder((5.0, np.int64(4), 2)).n_genes == 5


class TestStart:
    @pytest.mark.parametrize(
        ("init", "spread"),
        [
            ("he", lambda n_in, n_out: np.sqrt(2 / n_in)),
            ("glorot", lambda n_in, n_out: np.sqrt(2 / (n_in + n_out))),
            ("small", lambda n_in, n_out: 0.01),
        ],
    )
    def test_weights_are_normal_with_the_stated_spread_and_biases_zero(self, init, spread):
        model = DeepAutoencoder(SIZES, init=init)
        layers = linear(model.encoder) + linear(model.decoder)
        assert len(layers) == 4
        for layer in layers:
            n_out, n_in = layer.weight.shape
            scaled = layer.weight.detach().double() / spread(n_in, n_out)
            n = scaled.numel()  # the standard errors of mean, variance and kurtosis of n normal draws
            assert abs(scaled.mean()) < 4 / np.sqrt(n)
            assert abs((scaled**2).mean() - 1) < 4 * np.sqrt(2 / n)
            assert abs((scaled**4).mean() - 3) < 4 * np.sqrt(96 / n)
            assert not layer.bias.any()

    def test_he_keeps_the_size_of_signals_through_relu_layers(self):
        """E[a²] of the input to each layer stays 1 (He et al. 2015, equation 10); with small weights it is lost."""
        x = torch.randn(200, 400, generator=torch.Generator().manual_seed(0))
        kept, lost = (
            DeepAutoencoder((400,) * 9, init=init).encoder(x).square().mean().item() / 2 for init in ("he", "small")
        )
        assert kept == pytest.approx(1, rel=0.5) and lost < 1e-10

    def test_pytorchs_own_start_is_left_alone(self):
        model = DeepAutoencoder((30, 20, 3), init="pytorch", seed=4)
        widths = [(30, 20), (20, 3), (3, 20), (20, 30)]
        with local_seed(4):
            expected = [nn.Linear(*pair, dtype=torch.float64) for pair in widths]
        for layer, own in zip(linear(model.encoder) + linear(model.decoder), expected, strict=True):
            assert torch.equal(layer.weight, own.weight.float()) and torch.equal(layer.bias, own.bias.float())
            assert layer.bias.abs().max() > 0

    def test_he_is_the_default(self):
        pairs = zip(DeepAutoencoder(SIZES).parameters(), DeepAutoencoder(SIZES, init="he").parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)

    @pytest.mark.parametrize("init", ["he", "glorot", "small", "pytorch"])
    def test_seed_decides_the_weights_and_the_global_state_is_left_alone(self, init):
        before = torch.get_rng_state()
        first, again, other = (DeepAutoencoder((9, 4), init=init, seed=s).encoder[0].weight for s in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert torch.equal(before, torch.get_rng_state())

    def test_weights_are_single_precision_until_made_double(self):
        model, x = DeepAutoencoder((9, 4, 2)), torch.rand(3, 9, dtype=torch.float64)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        loss = model.double().loss(minibatch(x)).loss
        loss.backward()
        assert loss.dtype == torch.float64
        assert {p.grad.dtype for p in model.parameters()} == {torch.float64}


class TestOutput:
    def test_probability_is_the_default_with_its_cross_entropy(self):
        model, x = DeepAutoencoder((9, 4, 2)), torch.rand(3, 9, generator=torch.Generator().manual_seed(0))
        each = nn.functional.binary_cross_entropy(model(x)[0], x, reduction="none").sum(1)
        torch.testing.assert_close(model.loss(minibatch(x)).reconstruction, each)

    def test_real_is_the_squared_error_and_composition_sums_to_one(self):
        x = torch.rand(3, 9, generator=torch.Generator().manual_seed(0))
        real, composition = (DeepAutoencoder((9, 4, 2), output=kind) for kind in ("real", "composition"))
        torch.testing.assert_close(real.loss(minibatch(x)).reconstruction, ((real(x)[0] - x) ** 2).sum(1))
        torch.testing.assert_close(composition(x)[0].sum(1), torch.ones(3))


class TestErrors:
    @pytest.mark.parametrize("sizes", [(), (5,), (5, 0), (5, 2.5), (5, "2"), (5, None), (5, float("nan"))])
    def test_sizes(self, sizes):
        with pytest.raises(ValueError, match=r"sizes is \[.*width of the input"):
            DeepAutoencoder(sizes)

    def test_an_unknown_setting_is_answered_with_those_there_are(self):
        with pytest.raises(ValueError, match="activation is 'gelu'; choose one of 'relu', 'sigmoid', 'tanh', 'none'"):
            DeepAutoencoder((5, 2), activation="gelu")
        with pytest.raises(ValueError, match="init is 'xavier'; choose one of 'he', 'glorot', 'small', 'pytorch'"):
            DeepAutoencoder((5, 2), init="xavier")
        with pytest.raises(ValueError, match="output is 'binary'"):
            DeepAutoencoder((5, 2), output="binary")


@pytest.fixture(scope="module")
def weights():
    with (files("course_lib") / "data" / "curves_autoencoder.pt").open("rb") as file:
        return torch.load(file, weights_only=True)


class TestTrainedOnCurves:
    def test_it_reconstructs_curves_it_has_not_seen(self, weights):
        """On fresh draws; the mean image alone leaves 21; the paper's network left 1.44 on curves of its own."""
        model = DeepAutoencoder(CURVES_SIZES, seed=1)
        assert model.load_state_dict(weights).missing_keys == []
        x = torch.from_numpy(datasets.curves(1000, seed=20)[0])
        with torch.no_grad():
            x_hat, z = model.double()(x.double())
            assert torch.equal(trained_on_curves()(x.double())[0], x_hat)
        error = (x_hat - x).square().sum(1).mean().item()
        of_the_mean = (x - x.mean(0)).square().sum(1).mean().item()
        assert z.shape == (1000, 6)
        assert 0.5 < error < 2 and of_the_mean > 10 * error

    def test_its_weights_are_half_precision_and_finite(self, weights):
        assert {w.dtype for w in weights.values()} == {torch.float16}
        assert all(torch.isfinite(w).all() for w in weights.values())
