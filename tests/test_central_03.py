"""The central pieces of chapter 3 are those of the library, on a stated domain; a change of either is noticed."""

import notebooks
import numpy as np
import pytest
import torch
from torch import nn

from course_lib import channels
from course_lib.models import Minibatch, SparseAE

X = np.random.default_rng(0).normal(size=(150, 30)).astype(np.float32)


class TestCentralPiecesOfChapter3:
    SOURCE = notebooks.central_source("03_codes_and_sparsity.ipynb")
    N_BITS = 3

    @staticmethod
    def pieces(source: str) -> dict:
        namespace = {"torch": torch, "nn": nn, "np": np}
        exec(source, namespace)
        return namespace

    def messages(self, source: str) -> tuple[list, list]:
        """Symbols, what is restored from them and their price, by the chapter and by the library."""
        known, new = X[:100, :4], 1.3 * X[100:, :4]  # some of the new ones lie beyond the range of the known
        pieces, quantizer = self.pieces(source), channels.uniform_quantizer(known, self.N_BITS)
        low, high = known.min(axis=0).astype(float), known.max(axis=0).astype(float)
        sent, seen = (pieces["quantize"](z, self.N_BITS, low, high) for z in (new, known))
        ours = [sent, pieces["restore"](sent, self.N_BITS, low, high), pieces["price"](sent, seen, self.N_BITS)]
        sent, seen = quantizer.encode(new), quantizer.encode(known)
        return ours, [sent, quantizer.decode(sent), channels.code_length(sent, seen, self.N_BITS)]

    def agree(self, source: str) -> bool:
        try:
            return all(np.allclose(a, b, rtol=1e-9) for a, b in zip(*self.messages(source), strict=True))
        except (IndexError, ValueError):  # symbols that no code has
            return False

    def learnt(self, source: str) -> tuple[list, list]:
        """Output, code, loss and gradients of the chapter's model and of the library's, from the same weights."""
        pieces, x = self.pieces(source), torch.tensor(X, dtype=torch.float64)
        theirs = SparseAE(30, 70, l1=0.4, seed=3).double()
        with torch.no_grad():
            for weight in theirs.parameters():
                weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
        mine = pieces["MySparseAE"](30, 70).double()
        mine.load_state_dict(theirs.state_dict())
        found = []
        for model in (mine, theirs):
            x_hat, z = model(x)
            minibatch = Minibatch(x, x.sum(1, keepdim=True), torch.zeros(len(x), dtype=torch.int64))
            loss = pieces["sparse_loss"](x, x_hat, z, 0.4) if model is mine else model.loss(minibatch).loss
            loss.backward()
            found.append([x_hat, z, loss, *(weight.grad for _, weight in sorted(model.named_parameters()))])
        return found[0], found[1]

    def test_the_quantiser_and_its_price_are_those_of_the_library(self):
        ours, theirs = self.messages(self.SOURCE)
        assert theirs[0].min() == 0 and theirs[0].max() == 2**self.N_BITS - 1 and theirs[2] > 1
        assert self.agree(self.SOURCE) and ours[0].shape == (50, 4)

    def test_the_sparse_autoencoder_its_loss_and_its_gradients_are_those_of_the_library(self):
        ours, theirs = self.learnt(self.SOURCE)
        assert 0.1 < (theirs[1] > 0).double().mean() < 0.9 and len(ours) == 7
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)

    def test_it_starts_as_the_librarys_does(self):
        model = self.pieces(self.SOURCE)["MySparseAE"](30, 70)
        torch.testing.assert_close(model.weight.norm(dim=0), torch.ones(70))
        assert torch.equal(model.encoder.weight, model.weight.T)
        assert not model.bias.any() and not model.encoder.bias.any()

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("np.floor", "np.round"),
            ("2**n_bits - 1)", "2**n_bits)"),
            ("symbols + 0.5", "symbols"),
            ("high - low", "high"),
            ("minlength=2**n_bits) + 1", "minlength=2**n_bits) + 2"),
            ("np.log2", "np.log"),
            ("counts[sent]", "counts[seen]"),
        ],
    )
    def test_a_change_of_the_quantiser_or_the_price_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        assert not self.agree(self.SOURCE.replace(old, new))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("x - self.bias", "x"),
            ("torch.relu(", "torch.nn.functional.softplus("),
            (" / self.weight.norm(dim=0)", ""),
            ("dictionary.T + self.bias", "dictionary.T"),
            ("((x - x_hat) ** 2).sum(dim=1)", "((x - x_hat) ** 2).mean(dim=1)"),
            ("l1 * z.sum(dim=1)", "l1 * (z**2).sum(dim=1)"),
            ("(error + penalty).mean()", "(error + penalty).sum()"),
        ],
    )
    def test_a_change_of_the_sparse_autoencoder_is_noticed(self, old, new):
        assert old in self.SOURCE, "the chapter reads otherwise now: choose another change"
        ours, theirs = self.learnt(self.SOURCE.replace(old, new))
        assert not torch.allclose(ours[2], theirs[2], rtol=1e-6)
