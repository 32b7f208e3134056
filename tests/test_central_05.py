"""The central pieces of chapter 5 are those of the library, on a stated domain; a change of either is noticed."""

import notebooks
import numpy as np
import pytest
import torch
from torch.nn import functional

from course_lib import likelihoods, models
from course_lib.models import GeneExprVAE, Minibatch

X = torch.tensor(np.random.default_rng(0).normal(size=(16, 30)))


class TestCentralPiecesOfChapter5:
    SOURCE = notebooks.central_source("05_elbo.ipynb")
    SIGMA = 0.7

    @staticmethod
    def pieces(source: str) -> dict:
        namespace = {"torch": torch, "np": np, "models": models, "functional": functional}
        exec(source, namespace)
        return namespace

    def bounds(self, source: str) -> tuple[list, list]:
        """Log-likelihood, divergence and one-draw ELBO of each cell, by the chapter and by the library."""
        pieces, model = self.pieces(source), GeneExprVAE(30, 4, (20, 10), sigma=self.SIGMA, seed=2).double()
        mu, logvar = model.encode(X)
        mu, logvar = 3 * mu, 5 * logvar - 1
        eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(1), dtype=mu.dtype)
        z = mu + torch.exp(0.5 * logvar) * eps
        ours = [
            pieces["log_gaussian"](X, model.decode(z), self.SIGMA),
            pieces["kl_from_prior"](mu, logvar),
            pieces["elbo_one_draw"](X, mu, logvar, model.decode, self.SIGMA, eps),
        ]
        fit = likelihoods.log_gaussian(X, model.decode(z), self.SIGMA).sum(dim=1)
        kl = likelihoods.kl_standard_normal(mu, logvar)
        return ours, [fit, kl, model.log_likelihood(Minibatch(X, None, None), z) - kl]

    def agree(self, source: str) -> bool:
        return all(
            a.shape == b.shape and torch.allclose(a, b, rtol=1e-10) for a, b in zip(*self.bounds(source), strict=True)
        )

    def test_the_terms_and_the_bound_are_those_of_the_library(self):
        ours, theirs = self.bounds(self.SOURCE)
        assert all(value.shape == (16,) for value in theirs) and (theirs[1] > 0.1).all()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)

    def test_the_bound_is_minus_the_loss_of_the_librarys_vae(self):
        model = GeneExprVAE(30, 4, (20, 10), sigma=self.SIGMA, seed=2).double()
        torch.manual_seed(3)
        loss = model.loss(Minibatch(X, None, None)).loss
        torch.manual_seed(3)
        mu, logvar = model.encode(X)
        eps = torch.randn_like(mu)
        ours = self.pieces(self.SOURCE)["elbo_one_draw"](X, mu, logvar, model.decode, self.SIGMA, eps)
        torch.testing.assert_close(-ours.mean(), loss)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("((x - x_hat) ** 2).sum(dim=1)", "((x - x_hat) ** 2).mean(dim=1)"),
            ("(2 * sigma**2)", "sigma**2"),
            ("2 * np.pi * sigma**2", "2 * np.pi * sigma"),
            ("n_genes / 2", "n_genes"),
            ("0.5 * (mu**2", "(mu**2"),
            ("logvar.exp() - 1 - logvar", "logvar.exp() - 1 + logvar"),
            ("- 1 - logvar).sum(dim=1)", "- 1 - logvar).sum()"),
            ("torch.exp(0.5 * logvar)", "torch.exp(logvar)"),
            ("- kl_from_prior(mu, logvar)", "+ kl_from_prior(mu, logvar)"),
        ],
    )
    def test_a_change_of_the_bound_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        assert not self.agree(self.SOURCE.replace(old, new))

    def losses(self, source: str) -> tuple:
        """The trap's loss, and the library's with the weight that equation (5.23) names, on the same draws."""
        trap = self.pieces(source)["TrapVAE"](30, 4, (20, 10), seed=2).double()
        right = GeneExprVAE(30, 4, (20, 10), seed=2).double()
        found = []
        for model, weight in ((trap, 1.0), (right, 16 * 30 / 2)):
            torch.manual_seed(3)
            found.append(model.loss(Minibatch(X, None, None), weight))
        return trap, right, *found

    def test_the_trap_is_the_librarys_loss_with_half_of_cells_times_genes_on_the_divergence(self):
        trap, right, wrong, weighted = self.losses(self.SOURCE)
        constant = 30 / 2 * np.log(2 * np.pi)
        assert (weighted.loss - constant).item() == pytest.approx(30 / 2 * wrong.loss.item(), rel=1e-12)
        wrong.loss.backward()
        weighted.loss.backward()
        for one, other in zip(trap.parameters(), right.parameters(), strict=True):
            torch.testing.assert_close(30 / 2 * one.grad, other.grad)
        assert wrong.kl.mean().item() == pytest.approx(weighted.kl.mean().item())

    @pytest.mark.parametrize(
        ("old", "new"),
        [('reduction="mean"', 'reduction="sum"'), ("torch.sum(1", "torch.mean(1"), ("-0.5 * torch", "-torch")],
    )
    def test_a_change_of_the_trap_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        _, _, wrong, weighted = self.losses(self.SOURCE.replace(old, new))
        constant = 30 / 2 * np.log(2 * np.pi)
        assert (weighted.loss - constant).item() != pytest.approx(30 / 2 * wrong.loss.item(), rel=1e-6)
