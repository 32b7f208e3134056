"""The sparse autoencoder: its layers, its penalty, and that it finds features in superposition."""

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import dictionaries, latent, training
from course_lib.models import Minibatch, SparseAE


def minibatch(x: torch.Tensor) -> Minibatch:
    return Minibatch(x, x.sum(1, keepdim=True), torch.zeros(len(x), dtype=torch.int64))


def samples(n=7, n_inputs=5) -> torch.Tensor:
    return torch.randn(n, n_inputs, generator=torch.Generator().manual_seed(0))


def moved(**settings) -> SparseAE:
    """A model away from its start, so that no bias is zero and no column has length 1 by itself."""
    model = SparseAE(5, 12, seed=1, **settings)
    with torch.no_grad():
        for n, weight in enumerate(model.parameters()):
            weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(n))
    return model


class TestLayers:
    def test_the_code_and_the_reconstruction_are_those_of_the_formula(self):
        model, x = moved(), samples().numpy()
        weight, bias, encoder, c = (
            p.detach().numpy() for p in (model.weight, model.bias, model.encoder.weight, model.encoder.bias)
        )
        z = np.maximum((x - bias) @ encoder.T + c, 0)
        x_hat = z @ (weight / np.linalg.norm(weight, axis=0)).T + bias
        found_hat, found = (value.detach().numpy() for value in model(samples()))
        np.testing.assert_allclose(found, z, atol=1e-5)
        np.testing.assert_allclose(found_hat, x_hat, atol=1e-5)
        assert 0 < (z > 0).mean() < 1

    def test_columns_have_length_one_whatever_the_weights(self):
        lengths = moved().dictionary.norm(dim=0)
        torch.testing.assert_close(lengths, torch.ones(12))
        assert (moved(unit_norm=False).dictionary.norm(dim=0) - 1).abs().max() > 0.1

    def test_it_starts_with_the_transposed_dictionary_as_encoder_and_no_bias(self):
        model = SparseAE(5, 12)
        torch.testing.assert_close(model.encoder.weight, model.dictionary.T)
        assert not model.bias.any() and not model.encoder.bias.any()

    def test_encode_decode_and_forward_fit_together(self):
        model, x = moved(), samples()
        x_hat, z = model(x)
        assert z.shape == (7, 12) and x_hat.shape == x.shape and z.min() >= 0
        torch.testing.assert_close(model.encode(x), z)
        torch.testing.assert_close(model.decode(z), x_hat)

    def test_the_seed_decides_and_torchs_generator_stays_where_it_was(self):
        before = torch.get_rng_state()
        a, b, c = (SparseAE(5, 12, seed=s).weight for s in (1, 1, 2))
        assert torch.equal(a, b) and not torch.equal(a, c)
        assert torch.equal(before, torch.get_rng_state())

    @pytest.mark.parametrize("size", [0, -3, 2.5, None])
    def test_sizes_that_are_no_whole_number_are_refused(self, size):
        for sizes in ((size, 3), (3, size)):
            with pytest.raises(ValueError, match="whole number, at least 1"):
                SparseAE(*sizes)

    @pytest.mark.parametrize("l1", [-0.1, float("nan"), float("inf")])
    def test_a_penalty_that_is_no_number_from_zero_up_is_refused(self, l1):
        with pytest.raises(ValueError, match="l1 is"):
            SparseAE(5, 12, l1=l1)


class TestLoss:
    def test_it_is_the_summed_squared_error_and_the_penalty_on_the_sum_of_the_code(self):
        model, x = moved(l1=0.7), samples()
        x_hat, z = model(x)
        loss = model.loss(minibatch(x))
        error = nn.functional.mse_loss(x_hat, x, reduction="none").mean(1) * 5
        torch.testing.assert_close(loss.reconstruction, error)
        torch.testing.assert_close(loss.kl, 0.7 * z.abs().sum(1))
        torch.testing.assert_close(loss.loss, (error + 0.7 * z.abs().sum(1)).sum() / 7)

    def test_a_longer_column_does_not_change_it_unless_lengths_are_free(self):
        def losses(**settings):
            model = moved(**settings)
            before = model.loss(minibatch(samples())).loss.item()
            with torch.no_grad():
                model.weight *= 2
                model.encoder.weight /= 2
                model.encoder.bias /= 2
            return before, model.loss(minibatch(samples()))

        before, after = losses(unit_norm=False, l1=1.0)
        assert after.loss.item() < before  # the same x̂ for half the penalty
        assert losses(l1=0.0)[1].loss.item() != pytest.approx(losses(l1=0.0)[0])  # with length 1, x̂ is halved as well

    def test_the_gradient_of_a_column_is_at_right_angles_to_it(self):
        model = moved()
        model.loss(minibatch(samples())).loss.backward()
        along = (model.weight.grad * model.weight).sum(0)
        assert model.weight.grad.norm() > 0.1
        torch.testing.assert_close(along, torch.zeros(12), atol=1e-5, rtol=0)

    def test_one_feature_alone_is_found_with_its_strength_less_half_the_penalty(self):
        """The least of (a − z)² + λ z is at a − λ/2, and training arrives there for strengths a from 1 to 2."""
        strengths = np.linspace(1, 2, 200)[:, None]
        x = strengths * np.array([[0.6, 0.8]])
        model = SparseAE(2, 1, l1=0.4, seed=0).double()
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[0.7], [0.7]]))
            model.encoder.weight.copy_(torch.tensor([[0.7, 0.7]]))
        model.bias.requires_grad_(False)
        training.fit(model, x, n_epochs=300, lr=0.02, batch_size=200, schedule="cosine", validation=0, progress=False)
        np.testing.assert_allclose(latent.embed(model, x), strengths - 0.2, atol=0.01)
        assert dictionaries.match(model.dictionary.detach().numpy(), np.array([[0.6], [0.8]])).cosine[0] > 0.9999


def test_features_in_superposition_are_recovered_and_without_a_penalty_they_are_not():
    data = dictionaries.superposition(1500, 8, 12, probability=0.08, seed=0)
    found = {}
    for l1 in (0.0, 0.5):
        model = SparseAE(8, 24, l1=l1)
        training.fit(model, data.x, n_epochs=60, lr=0.01, schedule="cosine", validation=0, progress=False, device="cpu")
        found[l1] = dictionaries.match(model.dictionary.detach().numpy(), data.dictionary).cosine.mean()
        copied = latent.variance_explained(data.x, latent.reconstruct(model, data.x))
        assert copied > (0.97 if l1 == 0 else 0.7)
    assert found[0.5] > 0.95 > 0.85 > found[0.0]
