"""The central pieces of chapter 2 are those of the library, on a stated domain; a change of either is noticed."""

import notebooks
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from course_lib.models import RBM, Minibatch

X = np.random.default_rng(0).normal(size=(150, 30)).astype(np.float32)


class TestCentralPiecesOfChapter2:
    SOURCE = notebooks.central_source("02_pca.ipynb")
    FIVE = X[:, :5] * np.float32([2, 1.5, 1, 0.5, 0.3]) + 3

    @staticmethod
    def pieces(source: str) -> dict:
        namespace = {"np": np, "torch": torch}
        exec(source, namespace)
        return namespace

    def axes(self, source: str) -> tuple:
        """Axes and variances of data off the origin, by the chapter and by scikit-learn; signs as in the latter."""
        axes, variances = self.pieces(source)["principal_axes"](self.FIVE.astype(float), 2)
        pca = PCA(svd_solver="full").fit(self.FIVE.astype(float))
        theirs = pca.components_[:2].T, pca.explained_variance_ * (len(X) - 1) / len(X)  # divided by N, not N - 1
        return (axes * np.sign((axes * theirs[0]).sum(axis=0)), variances), theirs

    def fitted(self, source: str, seed=0, **settings) -> tuple:
        """Encoder and decoder by the chapter; covariance of the data, its eigenvalues and eigenvectors."""
        x = self.FIVE.astype(float) - self.FIVE.mean(axis=0, dtype=float)
        values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
        a, b = self.pieces(source)["fit_linear"](torch.from_numpy(x), 2, seed=seed, **settings)
        return a, b, values[::-1][:2], vectors[:, ::-1][:, :2]

    def is_closed_form(self, source: str, l2: float) -> bool:
        """Equation (2.8): B Bᵀ does not depend on the rotation that is free."""
        a, b, values, vectors = self.fitted(source, l2=l2)
        squares = vectors @ np.diag(1 - l2 / values) @ vectors.T
        return np.allclose(b @ b.T, squares, atol=1e-6) and np.allclose(a, b.T, atol=1e-6)

    def gradients(self, source: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Minus the chapter's estimate and the gradient of the library's loss, from the same random state."""
        rbm, x = RBM(30, 7).double(), torch.sigmoid(torch.tensor(X, dtype=torch.float64))
        with torch.no_grad():
            for weight in rbm.parameters():
                weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            rbm.loss(Minibatch(x, None, None)).loss.backward()
            torch.manual_seed(4)
            with torch.no_grad():
                estimate = self.pieces(source)["contrastive_divergence"](
                    x, rbm.weight, rbm.hidden_bias, rbm.visible_bias
                )
        return -estimate, rbm.weight.grad

    def test_the_principal_axes_are_those_of_scikit_learn(self):
        ours, theirs = self.axes(self.SOURCE)
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("seed", range(3))
    def test_the_linear_autoencoder_finds_pcas_projection(self, seed):
        a, b, _, vectors = self.fitted(self.SOURCE, seed)
        np.testing.assert_allclose(b @ a, vectors @ vectors.T, atol=1e-6)

    def test_with_tied_weights_its_decoder_is_orthonormal_and_turned(self):
        found = [self.fitted(self.SOURCE, seed, tied=True) for seed in range(2)]
        for a, b, _, vectors in found:
            np.testing.assert_array_equal(a, b.T)
            np.testing.assert_allclose(b.T @ b, np.eye(2), atol=1e-6)
            np.testing.assert_allclose(b @ a, vectors @ vectors.T, atol=1e-6)
        assert np.abs(found[0][1] - found[1][1]).max() > 0.05

    @pytest.mark.parametrize("l2", [0.05, 0.4])
    def test_with_a_penalty_it_is_that_of_the_closed_form(self, l2):
        assert self.is_closed_form(self.SOURCE, l2)

    def test_contrastive_divergence_is_minus_the_gradient_of_the_librarys_loss(self):
        ours, theirs = self.gradients(self.SOURCE)
        assert theirs.abs().max() > 0.01
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("x - x.mean(axis=0)", "x"),
            ("s**2 / len(x)", "s**2 / (len(x) - 1)"),
            ("axes[:d].T", "axes[-d:].T"),
        ],
    )
    def test_a_change_of_the_axes_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        ours, theirs = self.axes(self.SOURCE.replace(old, new, 1))
        assert not all(np.allclose(a, b, rtol=1e-6) for a, b in zip(ours, theirs, strict=True))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("sum(dim=1).mean()", "sum(dim=1).sum()"),
            ("(a**2).sum() + (decoder**2).sum()", "(decoder**2).sum()"),
            ("(a**2).sum()", "a.abs().sum()"),
            ("max_iter=1000", "max_iter=3"),
        ],
    )
    def test_a_change_of_the_linear_autoencoder_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        assert not self.is_closed_form(self.SOURCE.replace(old, new), 0.4)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("torch.bernoulli(h)", "h"),
            ("x @ weight + hidden_bias", "x @ weight"),
            ("weight.T + visible_bias", "weight.T"),
            ("x.T @ h - fantasy.T @ h_fantasy", "x.T @ h - x.T @ h_fantasy"),
            (" / len(x)", ""),
        ],
    )
    def test_a_change_of_contrastive_divergence_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        ours, theirs = self.gradients(self.SOURCE.replace(old, new))
        assert not torch.allclose(ours, theirs, rtol=1e-4)
