"""The central pieces of chapter 1 are those of the library, on a stated domain; a change of either is noticed."""

import inspect

import notebooks
import numpy as np
import pytest
import torch
from torch import nn

from course_lib import training
from course_lib.models import GeneExprAE

X = np.random.default_rng(0).normal(size=(150, 30)).astype(np.float32)


class TestCentralPiecesOfChapter1:
    SOURCE = notebooks.central_source("01_autoencoder.ipynb")

    @staticmethod
    def pieces(source: str) -> tuple:
        namespace = {"torch": torch, "nn": nn}
        exec(source, namespace)
        return namespace["MyAE"], namespace["train_loop"]

    def pair(self, source: str, dtype=torch.float32):
        """The chapter's model and the library's, with the same weights."""
        theirs = GeneExprAE(n_genes=30, n_latent=3, seed=1).to(dtype)
        mine = self.pieces(source)[0](30, 3).to(dtype)
        mine.load_state_dict(theirs.state_dict())
        return mine, theirs

    def outputs(self, source: str) -> list:
        x = torch.tensor(X)
        return [torch.cat(model(x), dim=1).detach() for model in self.pair(source)]

    def losses(self, source: str, dtype) -> list:
        """Losses per epoch of the chapter's loop and of the library's, from the same weights; 150 is not 2 · 64."""
        mine, theirs = self.trained = self.pair(source, dtype)
        arguments = {"n_epochs": 3, "batch_size": 64, "lr": 2e-3, "seed": 5}
        ours = self.pieces(source)[1](mine, torch.tensor(X).to(dtype), **arguments)
        history = training.fit(theirs, X, validation=0, device="cpu", progress=False, **arguments)
        return [np.array(ours), history.table()["train_loss"].to_numpy()]

    def test_the_model_is_that_of_the_library(self):
        mine, theirs = self.outputs(self.SOURCE)
        assert mine.shape == (150, 33)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)

    def test_its_sizes_are_those_of_the_library_unless_given(self):
        mine, theirs = (make(30).state_dict() for make in (self.pieces(self.SOURCE)[0], GeneExprAE))
        assert {key: value.shape for key, value in mine.items()} == {key: v.shape for key, v in theirs.items()}

    @pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
    def test_the_loop_gives_the_losses_of_the_library(self, dtype, rtol):
        mine, theirs = self.losses(self.SOURCE, dtype)
        assert len(mine) == 3 and mine[-1] < mine[0]
        np.testing.assert_allclose(mine, theirs, rtol=rtol)

    def test_the_loop_ends_at_the_weights_of_the_library(self):
        self.losses(self.SOURCE, torch.float64)
        mine, theirs = (torch.cat([p.detach().flatten() for p in model.parameters()]) for model in self.trained)
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)

    def test_the_loop_and_the_library_share_what_is_not_given(self):
        mine, theirs = (inspect.signature(f).parameters for f in (self.pieces(self.SOURCE)[1], training.fit))
        for name in ("batch_size", "lr", "seed"):
            assert mine[name].default == theirs[name].default

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("nn.ReLU()", "nn.Tanh()"),
            ("z = self.encoder(x)", "z = torch.relu(self.encoder(x))"),
            ("return x_hat, z", "return torch.sigmoid(x_hat), z"),
        ],
    )
    def test_a_change_of_the_model_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        mine, theirs = self.outputs(self.SOURCE.replace(old, new))
        assert not torch.allclose(mine, theirs, rtol=1e-2)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (".sum(dim=1)", ".mean(dim=1)"),
            ("manual_seed(seed)", "manual_seed(seed + 1)"),
            ("split(batch_size)", "split(batch_size + 1)"),
            ("lr=lr", "lr=1.01 * lr"),
            ("optimizer.zero_grad()", "pass"),
            ("loss.item() * len(index)", "loss.item()"),
            ("total / len(x)", "total / (len(x) - 1)"),
        ],
    )
    def test_a_change_of_the_loop_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        mine, theirs = self.losses(self.SOURCE.replace(old, new), torch.float32)
        assert not np.allclose(mine, theirs, rtol=1e-4)

    def test_a_change_of_the_librarys_model_is_noticed(self, monkeypatch):
        monkeypatch.setattr(GeneExprAE, "_activate", lambda self, raw: torch.relu(raw))
        mine, theirs = self.outputs(self.SOURCE)
        assert not torch.allclose(mine, theirs, rtol=1e-2)

    def test_a_change_of_the_librarys_loss_is_noticed(self, monkeypatch):
        real = GeneExprAE.loss

        def loss(self, minibatch, kl_weight=1.0):
            return real(self, minibatch._replace(x=minibatch.x * 1.001), kl_weight)

        monkeypatch.setattr(GeneExprAE, "loss", loss)
        mine, theirs = self.losses(self.SOURCE, torch.float32)
        assert not np.allclose(mine, theirs, rtol=1e-4)

    def test_a_change_of_the_librarys_loop_is_noticed(self, monkeypatch):
        def unweighted(losses):
            return torch.stack([torch.stack([x.loss, x.loss, x.loss]).detach() for x, _ in losses]).mean(0)

        monkeypatch.setattr(training, "_mean_terms", unweighted)
        mine, theirs = self.losses(self.SOURCE, torch.float32)
        assert not np.allclose(mine, theirs, rtol=1e-4)
