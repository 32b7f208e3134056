"""Autoencoders: x -> z -> x̂, trained so that the output is like the input."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib import likelihoods
from course_lib.models.base import Loss, Minibatch, checked_sizes, local_seed, mean_loss, multilayer

LOSS_UNITS = {
    "real": "squared error per cell",
    "probability": "binary cross-entropy per cell (nats)",
    "composition": "cross-entropy per cell (nats)",
}


class Autoencoder(nn.Module):
    """An encoder, a bottleneck of `n_latent` numbers, and a decoder.

    The classes below differ in their layers alone. The last activation and the loss go together and follow the input:

    ===============  =============================  ==========  =========================================
    `output`         the input x                    activation  reconstruction term, summed over genes
    ===============  =============================  ==========  =========================================
    ``real``         any real numbers               none        squared error (x − x̂)²
    ``probability``  values between 0 and 1         sigmoid     binary cross-entropy
    ``composition``  values ≥ 0 that sum to 1       softmax     cross-entropy −x log x̂
    ===============  =============================  ==========  =========================================

    Parameters
    ----------
    encoder
        Maps (batch, n_genes) to (batch, n_latent).
    decoder
        Maps (batch, n_latent) to (batch, n_genes), before the last activation.
    output
        ``"real"``, ``"probability"`` or ``"composition"``.

    Raises
    ------
    ValueError
        For an unknown `output`.
    """

    def __init__(self, encoder: nn.Sequential, decoder: nn.Sequential, output: str = "real"):
        super().__init__()
        if output not in LOSS_UNITS:
            raise ValueError(f"output is {output!r}; choose one of {', '.join(map(repr, LOSS_UNITS))}.")
        self.encoder, self.decoder, self.output = encoder, decoder, output
        self.n_genes = decoder[-1].out_features
        self.n_latent = encoder[-1].out_features
        self.loss_unit = LOSS_UNITS[output]

    def encode(self, x: Tensor) -> Tensor:
        """Compress x (batch, n_genes) into codes z (batch, n_latent)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Turn codes z (batch, n_latent) into x̂ (batch, n_genes), on the scale of the input."""
        return self._activate(self.decoder(z))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction x̂ (batch, n_genes) and the code z (batch, n_latent)."""
        z = self.encode(x)
        return self.decode(z), z

    def loss(self, minibatch: Minibatch, kl_weight: float = 1.0) -> Loss:
        """Reconstruction term per cell and its mean; an autoencoder has no prior, so its KL is zero."""
        x = minibatch.x
        raw = self.decoder(self.encode(x))
        if self.output == "real":
            per_gene = (x - raw) ** 2
        elif self.output == "probability":
            per_gene = -likelihoods.log_bernoulli(x, logits=raw)
        else:
            per_gene = -likelihoods.log_categorical(x, logits=raw)
        reconstruction = per_gene.sum(dim=1)  # (batch, n_genes) -> (batch,)
        return mean_loss(reconstruction, torch.zeros_like(reconstruction), kl_weight)

    def check_data(self, x: Tensor) -> None:
        """Raise a ValueError where values x (any number of cells, n_genes) do not fit the last activation."""
        if self.output != "real" and (x.min() < 0 or x.max() > 1):
            raise ValueError(
                f'output="{self.output}" is for values between 0 and 1, the data run from {x.min():.3g} '
                f'to {x.max():.3g}; scale them, or use output="real".'
            )
        if self.output == "composition" and not torch.allclose(x.sum(1), torch.ones_like(x[:, 0]), atol=1e-3):
            raise ValueError(
                'output="composition" is for cells that sum to 1, as after preprocess.normalize(adata, target_sum=1); '
                f"the first cell sums to {x[0].sum():.3g}."
            )

    def _activate(self, raw: Tensor) -> Tensor:
        if self.output == "probability":
            return torch.sigmoid(raw)
        return torch.softmax(raw, dim=1) if self.output == "composition" else raw


class GeneExprAE(Autoencoder):
    """The course's autoencoder: n_genes-512-256-`n_latent`, ReLU between layers, a linear code, a mirrored decoder.

    Parameters
    ----------
    n_genes
        Number of genes: the width of input and output.
    n_latent
        Size d of the code.
    n_hidden
        Widths of the encoder's hidden layers; the decoder has them in reverse.
    output
        Kind of input, which sets the last activation and the loss; see :class:`Autoencoder`.
    seed
        Seed of the starting weights.

    Raises
    ------
    ValueError
        For sizes below 1 or an unknown `output`.
    """

    def __init__(
        self,
        n_genes: int,
        n_latent: int = 32,
        n_hidden: Sequence[int] = (512, 256),
        output: str = "real",
        seed: int = 0,
    ):
        sizes = checked_sizes(n_genes, *n_hidden, n_latent)
        with local_seed(seed):
            super().__init__(multilayer(sizes), multilayer(sizes[::-1]), output)


class P1B1GeneExpressionAE(Autoencoder):
    """The National Cancer Institute's GENEEX benchmark: n_genes-2048-1024-512-128, dropout, a mirrored decoder.

    Parameters
    ----------
    n_genes, n_latent, n_hidden, seed
        As in :class:`GeneExprAE`.
    dropout
        Probability that a hidden unit is set to 0 in training; off in ``eval`` mode.

    Raises
    ------
    ValueError
        For sizes below 1 or a dropout outside [0, 1).

    References
    ----------
    CANDLE benchmark Pilot1 P1B1, as described by the National Cancer Institute ("GeneEx Autoencoder").
    """

    def __init__(
        self,
        n_genes: int,
        n_latent: int = 128,
        n_hidden: Sequence[int] = (2048, 1024, 512),
        dropout: float = 0.2,
        seed: int = 0,
    ):
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; it is a probability with 0 ≤ dropout < 1.")
        sizes = checked_sizes(n_genes, *n_hidden, n_latent)
        with local_seed(seed):
            super().__init__(multilayer(sizes, dropout), multilayer(sizes[::-1], dropout), "real")


class LinearAE(Autoencoder):
    """One linear layer in, one linear layer out, nothing between: what PCA can do, found by gradient descent.

    Parameters
    ----------
    n_genes, n_latent, seed
        As in :class:`GeneExprAE`.

    Raises
    ------
    ValueError
        For sizes below 1.
    """

    def __init__(self, n_genes: int, n_latent: int = 2, seed: int = 0):
        sizes = checked_sizes(n_genes, n_latent)
        with local_seed(seed):
            super().__init__(multilayer(sizes), multilayer(sizes[::-1]), "real")
