"""Restricted Boltzmann machines against enumeration: on a tiny one every state of both layers can be summed over."""

import itertools

import numpy as np
import pytest
import torch
from scipy import integrate
from scipy.special import expit
from torch.nn.utils import parameters_to_vector

from course_lib import training
from course_lib.models import RBM, DeepAutoencoder, Minibatch, unroll
from course_lib.models.base import local_seed

N_VISIBLE, N_HIDDEN = 4, 3
VS, HS = (np.array(list(itertools.product([0.0, 1.0], repeat=n))) for n in (N_VISIBLE, N_HIDDEN))
DATA = np.array([[1, 1, 0, 0], [1, 1, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0]], dtype=float)
KINDS = ["binary", "gaussian"]


def tiny(hidden="binary", spread=0.8, n_hidden=N_HIDDEN, seed=0, **settings) -> RBM:
    """A machine in double precision whose weights and biases are far from zero."""
    rbm, rng = RBM(N_VISIBLE, n_hidden, hidden, **settings).double(), np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in rbm.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(0, spread, parameter.shape)))
    return rbm


def arrays(rbm):
    return (p.detach().numpy() for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias))


def energy(rbm, v, h) -> float:
    """E(v, h) of one state, term by term, as written in the class's docstring."""
    w, a, b = arrays(rbm)
    both = sum(v[i] * w[i, j] * h[j] for i in range(len(v)) for j in range(len(h)))
    own = sum(b * h) if rbm.hidden == "binary" else -0.5 * sum((h - b) ** 2)
    return -both - sum(a * v) - own


def boltzmann(rbm) -> np.ndarray:
    """P(v, h) of a machine with binary units, (16, 8), by enumeration."""
    weight = np.exp([[-energy(rbm, v, h) for h in HS] for v in VS])
    return weight / weight.sum()


def log_likelihood(rbm, data) -> torch.Tensor:
    """Mean exact log P(v) of binary data: −F(v) − log Σ_v exp(−F(v))."""
    return -rbm.free_energy(torch.from_numpy(data)).mean() - torch.logsumexp(-rbm.free_energy(torch.from_numpy(VS)), 0)


def gradient(rbm, scalar) -> np.ndarray:
    return parameters_to_vector(torch.autograd.grad(scalar, list(rbm.parameters()))).numpy()


def minibatch(x) -> Minibatch:
    x = torch.as_tensor(x)
    return Minibatch(x, x.sum(1, keepdim=True), torch.zeros(len(x), dtype=torch.int64))


class TestFreeEnergy:
    def test_of_binary_units_it_is_minus_the_log_of_the_sum_over_hidden_states(self):
        rbm = tiny()
        expected = [-np.log(sum(np.exp(-energy(rbm, v, h)) for h in HS)) for v in VS]
        np.testing.assert_allclose(rbm.free_energy(torch.from_numpy(VS)).detach(), expected, rtol=1e-12)

    def test_of_gaussian_units_it_is_the_integral_without_its_constant(self):
        rbm = tiny("gaussian", n_hidden=2)
        for v in VS[::5]:
            total, _ = integrate.dblquad(lambda x, y, v=v: np.exp(-energy(rbm, v, np.array([x, y]))), -12, 12, -12, 12)
            expected = -np.log(total) + np.log(2 * np.pi)  # (d/2) log 2π with d = 2
            assert rbm.free_energy(torch.from_numpy(v[None])).item() == pytest.approx(expected, rel=1e-6)

    def test_it_gives_the_exact_distribution_of_visible_states(self):
        rbm = tiny()
        p_v = torch.softmax(-rbm.free_energy(torch.from_numpy(VS)), 0)
        np.testing.assert_allclose(p_v.detach(), boltzmann(rbm).sum(1), rtol=1e-12)


class TestConditionals:
    def test_encode_is_the_mean_of_binary_hidden_units(self):
        rbm = tiny()
        p = boltzmann(rbm)
        np.testing.assert_allclose(rbm.encode(torch.from_numpy(VS)).detach(), p @ HS / p.sum(1)[:, None], rtol=1e-12)

    def test_encode_is_the_mean_of_gaussian_hidden_units_and_their_variance_is_one(self):
        rbm = tiny("gaussian", n_hidden=1)
        for v in VS[::5]:
            moments = [
                integrate.quad(lambda x, v=v, k=k: x**k * np.exp(-energy(rbm, v, np.array([x]))), -15, 15)[0]
                for k in (0, 1, 2)
            ]
            mean, square = moments[1] / moments[0], moments[2] / moments[0]
            assert rbm.encode(torch.from_numpy(v[None])).item() == pytest.approx(mean, rel=1e-6)
            assert square - mean**2 == pytest.approx(1)

    @pytest.mark.parametrize("hidden", KINDS)
    def test_decode_is_the_probability_of_visible_units(self, hidden):
        rbm = tiny(hidden)
        for h in HS if hidden == "binary" else np.random.default_rng(1).normal(size=(5, N_HIDDEN)):
            weight = np.exp([-energy(rbm, v, h) for v in VS])
            expected = weight @ VS / weight.sum()
            np.testing.assert_allclose(rbm.decode(torch.from_numpy(h[None]))[0].detach(), expected, rtol=1e-12)

    def test_forward_goes_up_and_down_by_the_means(self):
        rbm, v = tiny(), torch.from_numpy(DATA)
        reconstruction, h = rbm(v)
        torch.testing.assert_close(h, rbm.encode(v))
        torch.testing.assert_close(reconstruction, rbm.decode(h))


class TestGradient:
    def test_of_the_exact_likelihood_it_is_a_difference_of_expected_statistics(self):
        """⟨v h⟩ and the like of the data minus the model's, against autograd through free energies."""
        rbm = tiny()
        p, n = boltzmann(rbm), len(DATA)
        w, _, b = arrays(rbm)
        h_of_data = expit(DATA @ w + b)
        expected = [
            DATA.T @ h_of_data / n - VS.T @ p @ HS,
            DATA.mean(0) - p.sum(1) @ VS,
            h_of_data.mean(0) - p.sum(0) @ HS,
        ]
        flat = np.concatenate([part.ravel() for part in expected])
        np.testing.assert_allclose(gradient(rbm, log_likelihood(rbm, DATA)), flat, atol=1e-12)
        p_v, free = torch.from_numpy(p.sum(1)), rbm.free_energy(torch.from_numpy(VS))
        difference = rbm.free_energy(torch.from_numpy(DATA)).mean() - p_v @ free
        np.testing.assert_allclose(-gradient(rbm, difference), flat, atol=1e-12)

    @pytest.mark.parametrize("hidden", KINDS)
    def test_of_the_loss_it_is_the_textbooks_data_minus_fantasy(self, hidden, monkeypatch):
        rbm, fantasy = tiny(hidden), np.random.default_rng(2).random((5, N_VISIBLE))
        monkeypatch.setattr(rbm, "chain", lambda v: torch.from_numpy(fantasy))
        w, _, b = arrays(rbm)

        def statistics(v):
            h = v @ w + b if hidden == "gaussian" else expit(v @ w + b)
            over_b = h - b if hidden == "gaussian" else h  # −∂E/∂b
            return np.concatenate([(v.T @ h / len(v)).ravel(), v.mean(0), over_b.mean(0)])

        loss = rbm.loss(minibatch(DATA)).loss
        np.testing.assert_allclose(gradient(rbm, -loss), statistics(DATA) - statistics(fantasy), atol=1e-12)

    @pytest.mark.parametrize("n_steps", [1, 3])
    def test_of_the_loss_it_averages_to_that_of_the_chain_enumerated(self, n_steps):
        """Over all ways to draw the hidden units: the mean of 40 batches is within 4.5 standard errors."""
        rbm = tiny(n_steps=n_steps)
        expected = gradient(rbm, log_likelihood(rbm, DATA)) + self.model_side(rbm) - self.chain_side(rbm, n_steps)
        found, error = self.averaged(rbm)
        assert error.max() < 0.001
        assert (np.abs(found - expected) < 4.5 * error).all()

    def test_of_a_long_chain_it_comes_near_that_of_the_likelihood(self):
        """With weights as small as at the start of learning, and a Monte-Carlo error far below the gap."""
        rbm = tiny(spread=0.01, n_steps=30)
        exact = gradient(rbm, log_likelihood(rbm, DATA))
        found, error = self.averaged(rbm)
        assert np.linalg.norm(error) < 1e-4 * np.linalg.norm(exact)
        assert np.linalg.norm(found - exact) < 0.01 * np.linalg.norm(exact)

    def test_of_a_long_chain_it_does_not_become_that_of_the_likelihood(self):
        """Passing on P(v = 1 | h) where v would be drawn leaves a gap, as the docstring of `chain` says."""
        rbm = tiny(spread=0.2)
        sides = [self.chain_side(rbm, k) for k in (50, 100)]
        np.testing.assert_allclose(*sides, atol=1e-9)
        gap = np.linalg.norm(sides[1] - self.model_side(rbm)) / np.linalg.norm(gradient(rbm, log_likelihood(rbm, DATA)))
        assert 0.02 < gap < 0.2

    @staticmethod
    def model_side(rbm) -> np.ndarray:
        """Mean gradient of −F over the machine's own distribution."""
        p_v = torch.from_numpy(boltzmann(rbm).sum(1))
        return gradient(rbm, -p_v @ rbm.free_energy(torch.from_numpy(VS)))

    @staticmethod
    def chain_side(rbm, n_steps) -> np.ndarray:
        """Mean gradient of −F over the end of the chain, from its table of transitions between hidden states."""
        w, a, b = arrays(rbm)

        def to_hidden(v):
            p = expit(v @ w + b)[:, None]
            return np.prod(np.where(HS == 1, p, 1 - p), axis=2)

        seen = expit(HS @ w.T + a)  # (8 hidden states, 4)
        p_h = to_hidden(DATA).mean(0) @ np.linalg.matrix_power(to_hidden(seen), n_steps - 1)
        return gradient(rbm, -torch.from_numpy(p_h) @ rbm.free_energy(torch.from_numpy(seen)))

    @staticmethod
    def averaged(rbm, n_batches=40, copies=1000) -> tuple[np.ndarray, np.ndarray]:
        """Mean ascent direction of many batches and its standard error, (19,) each."""
        many = minibatch(np.tile(DATA, (copies, 1)))
        with local_seed(7):
            found = np.array([gradient(rbm, -rbm.loss(many).loss) for _ in range(n_batches)])
        return found.mean(0), found.std(0, ddof=1) / np.sqrt(n_batches)


class TestChain:
    def test_draws_binary_hidden_units_by_their_probabilities_and_passes_visible_ones_on(self, monkeypatch):
        drawn, rbm = self.watched(tiny(), monkeypatch)
        v = torch.from_numpy(DATA[:1]).expand(20_000, -1)
        with local_seed(3):
            end = rbm.chain(v)
        assert set(drawn[0].unique().tolist()) == {0, 1}
        np.testing.assert_allclose(drawn[0].mean(0), rbm.encode(v[:1])[0].detach(), atol=4 * 0.5 / np.sqrt(20_000))
        torch.testing.assert_close(end, rbm.decode(drawn[0]))

    def test_draws_gaussian_hidden_units_with_variance_one(self, monkeypatch):
        drawn, rbm = self.watched(tiny("gaussian"), monkeypatch)
        v = torch.from_numpy(DATA[:1]).expand(20_000, -1)
        with local_seed(3):
            rbm.chain(v)
        np.testing.assert_allclose(drawn[0].mean(0), rbm.encode(v[:1])[0].detach(), atol=4 / np.sqrt(20_000))
        np.testing.assert_allclose(np.cov(drawn[0].T), np.eye(N_HIDDEN), atol=4 * np.sqrt(2 / 20_000))

    @pytest.mark.parametrize("n_steps", [1, 4])
    def test_has_as_many_steps_as_asked_for(self, n_steps, monkeypatch):
        drawn, rbm = self.watched(tiny(n_steps=n_steps), monkeypatch)
        rbm.chain(torch.from_numpy(DATA))
        assert len(drawn) == n_steps

    @staticmethod
    def watched(rbm, monkeypatch):
        drawn, decode = [], rbm.decode

        def watch(h):
            drawn.append(h.detach())
            return decode(h)

        monkeypatch.setattr(rbm, "decode", watch)
        return drawn, rbm


class TestTraining:
    def test_raises_the_exact_likelihood_of_binary_data(self):
        rbm = RBM(N_VISIBLE, 8, seed=1).double()
        before = log_likelihood(rbm, DATA).item()
        history = training.fit(
            rbm, np.tile(DATA, (20, 1)), n_epochs=60, batch_size=10, lr=0.02, validation=0, device="cpu", progress=False
        )
        counts = np.unique(DATA, axis=0, return_counts=True)[1] / len(DATA)
        best = (counts * np.log(counts)).sum()  # no distribution does better
        after = log_likelihood(rbm, DATA).item()
        assert before == pytest.approx(-N_VISIBLE * np.log(2), abs=0.01)  # all states alike, nearly
        assert best > after > (before + best) / 2
        assert history.unit == "difference of free energies per image (nats)" and history.stopped is None

    def test_of_gaussian_units_lowers_the_error_of_reconstruction(self):
        rbm, x = RBM(N_VISIBLE, 2, "gaussian", seed=1).double(), torch.from_numpy(DATA)
        before = (rbm(x)[0] - x).square().sum(1).mean().item()
        training.fit(rbm, np.tile(DATA, (20, 1)), n_epochs=60, batch_size=10, lr=0.02, device="cpu", progress=False)
        assert (rbm(x)[0] - x).square().sum(1).mean().item() < before / 2

    def test_loss_is_a_mean_over_images_with_no_kl(self):
        loss = tiny().loss(minibatch(DATA))
        assert loss.reconstruction.shape == (5,) and not loss.kl.any()
        torch.testing.assert_close(loss.loss, loss.reconstruction.mean())

    @pytest.mark.parametrize("value", [-0.1, 1.5])
    def test_data_outside_zero_to_one_are_refused(self, value):
        x = DATA.copy()
        x[0, 0] = value
        with pytest.raises(ValueError, match=f"between 0 and 1, the data run from {min(value, 0):.3g} to"):
            training.fit(RBM(N_VISIBLE, 2), x, n_epochs=1, progress=False)
        RBM(N_VISIBLE, 2).check_data(torch.from_numpy(DATA))

    def test_data_with_another_number_of_pixels_are_refused(self):
        with pytest.raises(ValueError, match="data has 4 genes, the model was made for 5"):
            training.fit(RBM(5, 2), DATA, n_epochs=1, progress=False)


class TestMaking:
    def test_starts_from_small_normal_weights_and_no_biases(self):
        rbm = RBM(300, 200)
        scaled = rbm.weight.detach().double() / 0.01
        assert scaled.shape == (300, 200) and rbm.weight.dtype == torch.float32
        assert abs(scaled.mean()) < 4 / np.sqrt(60_000) and abs((scaled**2).mean() - 1) < 4 * np.sqrt(2 / 60_000)
        assert abs((scaled**4).mean() - 3) < 4 * np.sqrt(96 / 60_000)
        assert not rbm.visible_bias.any() and not rbm.hidden_bias.any()
        assert rbm.visible_bias.shape == (300,) and rbm.hidden_bias.shape == (200,)

    def test_seed_decides_the_weights_and_the_global_state_is_left_alone(self):
        before = torch.get_rng_state()
        first, again, other = (RBM(4, 3, seed=seed).weight for seed in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert torch.equal(before, torch.get_rng_state())

    @pytest.mark.parametrize("name", ["n_visible", "n_hidden", "n_steps"])
    @pytest.mark.parametrize("value", [0, -1, 2.5, None, float("nan")])
    def test_sizes_and_steps_that_are_no_whole_number_are_refused(self, name, value):
        with pytest.raises(ValueError, match=f"{name} is {value}; it is a whole number, at least 1"):
            RBM(**{"n_visible": 4, "n_hidden": 3, name: value})

    def test_an_unknown_kind_of_hidden_unit_is_refused(self):
        with pytest.raises(ValueError, match='hidden is \'relu\'; choose "binary" or "gaussian"'):
            RBM(4, 3, hidden="relu")


def stack(sizes=(6, 5, 4, 2)) -> list[RBM]:
    kinds = ["binary"] * (len(sizes) - 2) + ["gaussian"]
    rbms = [RBM(*pair, kind).double() for pair, kind in zip(itertools.pairwise(sizes), kinds, strict=True)]
    rng = np.random.default_rng(5)
    with torch.no_grad():
        for parameter in (p for rbm in rbms for p in rbm.parameters()):
            parameter.copy_(torch.from_numpy(rng.normal(size=parameter.shape)))
    return rbms


class TestUnroll:
    @pytest.mark.parametrize("sizes", [(6, 5, 4, 2), (6, 2)])
    def test_the_autoencoder_passes_the_means_up_and_down_the_stack(self, sizes):
        rbms = stack(sizes)
        h = v = torch.from_numpy(np.random.default_rng(6).random((7, 6)))
        for rbm in rbms:
            h = rbm.encode(h)
        code = h
        for rbm in reversed(rbms):
            h = rbm.decode(h)
        torch.testing.assert_close(unroll(rbms)(v), (h, code))

    def test_it_is_a_deep_autoencoder_of_the_stacks_sizes_with_probabilities_out(self):
        model = unroll(stack())
        assert isinstance(model, DeepAutoencoder) and model.output == "probability"
        assert [tuple(p.shape) for p in model.encoder.parameters() if p.ndim == 2] == [(5, 6), (4, 5), (2, 4)]
        assert [tuple(p.shape) for p in model.decoder.parameters() if p.ndim == 2] == [(4, 2), (5, 4), (6, 5)]

    def test_it_has_the_machines_precision_and_weights_of_its_own(self):
        rbms = stack()
        model = unroll(rbms)
        assert {p.dtype for p in model.parameters()} == {torch.float64}
        assert {p.dtype for p in unroll([rbm.float() for rbm in stack()]).parameters()} == {torch.float32}
        before = rbms[0].weight.detach().clone()
        with torch.no_grad():
            model.encoder[0].weight.add_(1)
            assert torch.equal(rbms[0].weight, before) and torch.equal(model.decoder[-1].weight, before)
            model.decoder[-1].weight.add_(1)
            assert torch.equal(rbms[0].weight, before)
        assert all(p.requires_grad for p in model.parameters())

    def test_it_is_on_the_machines_device(self):
        assert {p.device.type for p in unroll([rbm.to("meta") for rbm in stack()]).parameters()} == {"meta"}

    def test_no_machine_or_one_that_does_not_fit_is_refused_with_the_shapes(self):
        with pytest.raises(ValueError, match=r"shapes \[\]; give at least one"):
            unroll([])
        with pytest.raises(ValueError, match=r"shapes \[\(6, 5\), \(4, 2\)\]"):
            unroll([RBM(6, 5), RBM(4, 2, "gaussian")])

    @pytest.mark.parametrize("kinds", [("binary", "binary"), ("gaussian", "gaussian"), ("gaussian", "binary")])
    def test_hidden_units_that_would_not_fit_the_autoencoder_are_refused(self, kinds):
        with pytest.raises(ValueError, match=r"hidden units \['.*Gaussian ones in the last alone"):
            unroll([RBM(6, 5, kinds[0]), RBM(5, 2, kinds[1])])
