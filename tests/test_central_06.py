"""The central pieces of chapter 6 are those of the library, on a stated domain; a change of either is noticed."""

import inspect
import itertools
import math

import notebooks
import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal

from course_lib import training
from course_lib.models import GeneExprVAE

X = np.random.default_rng(0).normal(size=(150, 30)).astype(np.float32)


class TestCentralPiecesOfChapter6:
    SOURCE = notebooks.central_source("06_reparameterization.ipynb")

    @staticmethod
    def pieces(source: str) -> dict:
        namespace = {"torch": torch, "nn": nn, "math": math, "itertools": itertools}
        exec(source, namespace)
        return namespace

    def losses(self, source: str) -> list:
        """Both terms per epoch by the chapter and by the library, from the same weights; 150 is not 2 · 64."""
        pieces = self.pieces(source)
        theirs = GeneExprVAE(30, 3, (20, 10), seed=1).double()
        encoder, decoder = pieces["network"](30, 20, 10, 6).double(), pieces["network"](3, 10, 20, 30).double()
        encoder.load_state_dict(theirs.encoder.state_dict())
        decoder.load_state_dict(theirs.decoder.state_dict())
        self.trained = (nn.ModuleDict({"encoder": encoder, "decoder": decoder}), theirs)
        arguments = {"n_epochs": 3, "batch_size": 64, "lr": 2e-3, "seed": 5}
        with torch.random.fork_rng():  # the chapter seeds torch itself
            ours = pieces["train_vae"](encoder, decoder, torch.tensor(X).double(), **arguments)
        history = training.fit(theirs, X, validation=0, device="cpu", progress=False, **arguments)
        return [np.array(ours), history.table()[["train_reconstruction", "train_kl"]].to_numpy()]

    def gradients(self, source: str) -> tuple[list, list]:
        """Pathwise and score function gradients by the chapter, and by torch's distributions, for f(z) = sin z + z²."""
        pieces = self.pieces(source)

        def f(z):
            return torch.sin(z) + z**2

        eps = torch.linspace(-2, 2, 7, dtype=torch.float64)
        ours = [pieces["pathwise"](f, 0.3, 1.7, eps), pieces["score"](f, 0.3, 1.7, eps, 0.4)]
        z = 0.3 + 1.7 * eps
        mu = torch.full_like(eps, 0.3).requires_grad_()
        (of_log_q,) = torch.autograd.grad(Normal(mu, 1.7).log_prob(z).sum(), mu)
        return ours, [torch.cos(z) + 2 * z, (f(z) - 0.4) * of_log_q]

    def test_the_loop_gives_both_terms_of_the_librarys_loss(self):
        mine, theirs = self.losses(self.SOURCE)
        assert mine.shape == (3, 2) and mine[-1].sum() < mine[0].sum() and (mine[:, 1] > 0).all()
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)

    def test_the_loop_ends_at_the_weights_of_the_library(self):
        self.losses(self.SOURCE)
        mine, theirs = (torch.cat([p.detach().flatten() for p in model.parameters()]) for model in self.trained)
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)

    def test_the_networks_start_as_the_library_shapes_them(self):
        mine = self.pieces(self.SOURCE)["network"](30, 512, 256, 64).state_dict()
        theirs = GeneExprVAE(30).encoder.state_dict()
        assert {key: value.shape for key, value in mine.items()} == {key: v.shape for key, v in theirs.items()}

    def test_the_loop_and_the_library_share_what_is_not_given(self):
        mine, theirs = (inspect.signature(f).parameters for f in (self.pieces(self.SOURCE)["train_vae"], training.fit))
        for name in ("batch_size", "lr", "seed"):
            assert mine[name].default == theirs[name].default

    def test_both_gradients_are_those_of_torchs_distributions(self):
        ours, theirs = self.gradients(self.SOURCE)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        plain = self.pieces(self.SOURCE)["score"](torch.cos, 0.0, 2.0, torch.ones(1))
        torch.testing.assert_close(plain, torch.cos(torch.full((1,), 2.0)) / 2)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("torch.exp(0.5 * logvar)", "torch.exp(logvar)"),
            ("torch.randn_like(mu)", "torch.randn_like(mu[:, :1])"),
            ("torch.randn_like(mu)", "0 * mu"),
            ("z = mu + torch.exp(0.5 * logvar) * eps", "z = (mu + torch.exp(0.5 * logvar) * eps).detach()"),
            (".sum(dim=1)  # over genes", ".mean(dim=1)"),
            (".sum(dim=1)  # over latents", ".mean(dim=1)"),
            ("0.5 * squares", "squares"),
            ("- 1 - logvar", "- logvar"),
            ("optimizer.zero_grad()", "pass"),
            ("len(index) * terms.cpu()", "terms.cpu()"),
            ("layers[:-1]", "layers"),
            ("torch.manual_seed(seed)", "torch.manual_seed(seed + 1)"),
        ],
    )
    def test_a_change_of_the_training_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        mine, theirs = self.losses(self.SOURCE.replace(old, new))
        assert not np.allclose(mine, theirs, rtol=1e-5)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("mu + sigma * eps", "mu + eps"),
            ("* eps / sigma", "* eps"),
            ("(f(z) - b)", "f(z)"),
            ("f(z).sum()", "f(z).mean()"),
        ],
    )
    def test_a_change_of_a_gradient_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        ours, theirs = self.gradients(self.SOURCE.replace(old, new))
        assert not all(torch.allclose(a, b) for a, b in zip(ours, theirs, strict=True))

    def test_a_change_of_the_librarys_draw_is_noticed(self, monkeypatch):
        def shared(self, mu, logvar):
            return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu[:1])

        monkeypatch.setattr(GeneExprVAE, "reparameterize", shared)
        mine, theirs = self.losses(self.SOURCE)
        assert not np.allclose(mine, theirs, rtol=1e-5)
