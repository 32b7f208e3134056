"""The central pieces of chapter 7 are the library's likelihoods for ordinary values; a change of either is noticed."""

import notebooks
import pytest
import torch
from torch.nn import functional as F

from course_lib import likelihoods


class TestCentralPiecesOfChapter7:
    SOURCE = notebooks.central_source("07_counts.ipynb")
    # The stated domain: means and dispersions from 0.1 to 100, counts up to 300, in double precision
    X, MU, THETA = torch.meshgrid(
        torch.tensor([0.0, 1, 2, 7, 30, 300], dtype=torch.float64),
        torch.logspace(-1, 2, 7, dtype=torch.float64),
        torch.logspace(-1, 2, 7, dtype=torch.float64),
        indexing="ij",
    )

    def values(self, source: str) -> list[tuple]:
        """Value and gradient of each likelihood, by the chapter and by the library."""
        pieces: dict = {"torch": torch, "F": F}
        exec(source, pieces)
        both = []
        for mine, theirs, n in (("log_nb", "log_nb_positive", 2), ("log_zinb", "log_zinb_positive", 3)):
            found = []
            for function in (pieces[mine], getattr(likelihoods, theirs)):
                arguments = [self.MU.clone(), self.THETA.clone(), torch.full_like(self.MU, 0.4)][:n]
                arguments = [value.requires_grad_() for value in arguments]
                value = function(self.X, *arguments)
                found.append([value.detach(), *torch.autograd.grad(value.sum(), arguments)])
            both.append(tuple(found))
        return both

    def agree(self, source: str) -> bool:
        return all(
            torch.allclose(a, b, rtol=1e-5, atol=1e-5)
            for mine, theirs in self.values(source)
            for a, b in zip(mine, theirs, strict=True)
        )

    def test_both_likelihoods_are_those_of_the_library_for_ordinary_values(self):
        for mine, theirs in self.values(self.SOURCE):
            assert len(mine) == len(theirs) and torch.isfinite(theirs[0]).all()
        assert self.agree(self.SOURCE)

    def test_outside_that_domain_they_are_not(self):
        pieces: dict = {"torch": torch, "F": F}
        exec(self.SOURCE, pieces)
        x, mu, theta = torch.tensor(100.0), torch.tensor(100.0), torch.tensor(1e6)
        assert abs(pieces["log_nb"](x, mu, theta) - likelihoods.log_nb_positive(x, mu, theta)) > 0.3

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("tiny=1e-8", "tiny=1e-3"),
            ("torch.lgamma(x + 1)", "torch.lgamma(x + 2)"),
            ("- torch.lgamma(theta)", "+ torch.lgamma(theta)"),
            ("theta * (torch.log", "(torch.log"),
            ("x * (torch.log", "(x + 1) * (torch.log"),
            ("F.logsigmoid(zi_logits)", "F.logsigmoid(-zi_logits)"),
            ("F.logsigmoid(-zi_logits) +", "0 * zi_logits +"),
            ("torch.logaddexp(log_extra, log_counted)", "log_extra"),
            ("x == 0", "x <= 1"),
        ],
    )
    def test_a_change_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        assert not self.agree(self.SOURCE.replace(old, new))
