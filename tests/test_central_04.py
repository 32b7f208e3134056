"""The central pieces of chapter 4 are those of the library, on a stated domain; a change of either is noticed."""

import notebooks
import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from torch import nn

from course_lib import training
from course_lib.models import PPCA, GeneExprVAE, Minibatch

X = torch.tensor(np.random.default_rng(0).normal(size=(150, 12)))


class TestCentralPiecesOfChapter4:
    SOURCE = notebooks.central_source("04_vae.ipynb")

    @staticmethod
    def pieces(source: str) -> dict:
        namespace = {"torch": torch, "nn": nn, "np": np, "logsumexp": logsumexp}
        exec(source, namespace)
        return namespace

    def pair(self, source: str) -> tuple[nn.Module, GeneExprVAE]:
        """The chapter's model and the library's, with the same weights."""
        theirs = GeneExprVAE(12, 3, (10, 8), sigma=0.7, seed=2).double()
        mine = self.pieces(source)["MyVAE"](12, 3, 10, 8, sigma=0.7).double()
        mine.load_state_dict(theirs.state_dict())
        return mine, theirs

    def learnt(self, source: str) -> tuple[list, list]:
        """Loss and gradients of both, with the same noise."""
        mine, theirs = self.pair(source)
        found = []
        for model in (mine, theirs):
            with torch.random.fork_rng():
                torch.manual_seed(3)
                loss = model.loss(X) if model is mine else model.loss(Minibatch(X, None, None)).loss
            loss.backward()
            found.append([loss, *(weight.grad for weight in model.parameters())])
        return found[0], found[1]

    def trained(self, source: str) -> tuple[list, list]:
        """Weights of both after three epochs, and the epochs at which the chapter's loop lets somebody look."""
        mine, theirs = self.pair(source)
        seen = []
        with torch.random.fork_rng():
            self.pieces(source)["train_vae"](mine, X, 3, lambda epoch, _: seen.append(epoch), batch_size=64, seed=4)
        training.fit(theirs, X, n_epochs=3, batch_size=64, validation=0, seed=4, device="cpu")
        assert seen == [0, 1, 2, 3]
        return list(mine.parameters()), list(theirs.parameters())

    def drawn(self, source: str) -> tuple[list, list]:
        """Cells, and their means, drawn by the chapter and by the library."""
        model = GeneExprVAE(12, 3, (10, 8), sigma=0.7, seed=2).double()
        mine = [self.pieces(source)["sample"](model, 50, 5, mean) for mean in (False, True)]
        return mine, [model.sample(50, 5, mean) for mean in (False, True)]

    def summed(self, source: str) -> tuple[list, list]:
        """log P(x) and posterior on a grid, beside the exact ones of probabilistic PCA."""
        ppca, x = PPCA([[1.0, 0.4], [0.2, -0.8], [0.5, 0.5]], [0.1, 0.0, -0.2], 0.6), np.array([0.7, -0.3, 0.4])
        weight, mean = ppca.weight.detach().numpy(), ppca.mean.detach().numpy()

        def log_joint(z1, z2):
            x_hat = np.stack([z1, z2], axis=-1) @ weight.T + mean
            return stats.norm.logpdf(x, x_hat, 0.6).sum(axis=-1) + stats.norm.logpdf(z1) + stats.norm.logpdf(z2)

        axis = np.linspace(-5, 5, 81)
        found = self.pieces(source)["posterior_on_grid"](log_joint, axis)
        with torch.no_grad():
            log_x, (center, covariance) = ppca.log_prob(torch.tensor(x[None])), ppca.posterior(torch.tensor(x[None]))
        points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
        return list(found), [log_x.item(), stats.multivariate_normal(center[0], covariance).pdf(points)]

    def test_loss_and_gradients_are_those_of_the_library(self):
        ours, theirs = self.learnt(self.SOURCE)
        assert len(ours) == 13 and min(part.abs().max() for part in ours) > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)

    def test_the_lectures_sizes_are_the_default(self):
        mine, theirs = self.pieces(self.SOURCE)["MyVAE"](1000), GeneExprVAE(1000)
        assert [p.shape for p in mine.parameters()] == [p.shape for p in theirs.parameters()]
        assert mine.sigma == theirs.sigma == 1

    def test_the_loop_ends_at_the_weights_of_the_library(self):
        ours, theirs = self.trained(self.SOURCE)
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)

    def test_new_cells_are_those_of_the_library(self):
        ours, theirs = self.drawn(self.SOURCE)
        assert ours[0].shape == (50, 12) and not torch.allclose(ours[0], ours[1])
        torch.testing.assert_close(ours, theirs)

    def test_the_sum_over_a_grid_is_the_integral(self):
        for ours, exact in zip(*self.summed(self.SOURCE), strict=True):
            np.testing.assert_allclose(ours, exact, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("self.encoder(x).chunk(2, dim=1)", "self.encoder(x).chunk(2, dim=1)[::-1]"),
            ("torch.randn_like(mu)", "torch.randn_like(mu[:1])"),
            ("torch.exp(0.5 * logvar) * eps", "torch.exp(logvar) * eps"),
            ("** 2).sum(dim=1)  # sum over genes", "** 2).mean(dim=1)"),
            ("squared / (2 * self.sigma**2)", "squared / self.sigma**2"),
            ("+ constant", ""),
            ("logvar.exp() - 1 - logvar", "logvar.exp() - 1 + logvar"),
            ("(reconstruction + kl).mean()", "(reconstruction + kl).sum()"),
        ],
    )
    def test_a_change_of_the_model_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        ours, theirs = self.learnt(self.SOURCE.replace(old, new))
        assert not torch.allclose(ours[0], theirs[0], rtol=1e-6)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("lr=1e-3", "lr=1.1e-3"),
            ("split(batch_size)", "split(50)"),
            ("torch.manual_seed(seed)", "torch.manual_seed(seed + 1)"),
            ("            optimizer.zero_grad()\n", ""),
        ],
    )
    def test_a_change_of_the_loop_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        ours, theirs = self.trained(self.SOURCE.replace(old, new))
        assert not all(torch.allclose(a, b, rtol=1e-5) for a, b in zip(ours, theirs, strict=True))

    @pytest.mark.parametrize(
        ("old", "new"),
        [("model.sigma * noise", "noise"), ("noise(x_hat.shape[1])", "noise(1)"), ("if mean:", "if not mean:")],
    )
    def test_a_change_of_the_draw_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        ours, theirs = self.drawn(self.SOURCE.replace(old, new))
        assert not torch.allclose(ours[0], theirs[0])

    @pytest.mark.parametrize(
        ("old", "new"), [("+ np.log(area)", ""), ("axis[0]) ** 2", "axis[0])"), ("log_p - log_x", "log_p")]
    )
    def test_a_change_of_the_grid_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        ours, exact = self.summed(self.SOURCE.replace(old, new))
        assert not all(np.allclose(a, b, rtol=1e-3) for a, b in zip(ours, exact, strict=True))
