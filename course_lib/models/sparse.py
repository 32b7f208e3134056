"""The sparse autoencoder: more code numbers than inputs, nearly all of them zero."""

import torch
from torch import Tensor, nn

from course_lib.arguments import whole
from course_lib.models.base import Loss, Minibatch, local_seed, mean_loss


class SparseAE(nn.Module):
    """One layer in, ReLU, one layer out, and a penalty on the code: x̂ = W z + m with z = ReLU(V (x − m) + c).

    The columns of W, the *dictionary*, are directions in the space of the input, of length 1. Each is used as far as
    its number in the code says, and the penalty, `l1` times the sum of these numbers, makes every use cost something.
    Without the fixed length the penalty could be evaded: a code half as large, with columns twice as long, decodes to
    the same x̂ and costs half.

    Parameters
    ----------
    n_inputs
        Size D of the input: of an embedding, say.
    n_latent
        Size d of the code, usually larger than D.
    l1
        λ ≥ 0: squared error that a number of the code has to save per unit of its size.
    unit_norm
        Whether columns are divided by their length wherever they are used; False shows what happens otherwise.
    seed
        Seed of the starting weights: random directions W, V = Wᵀ, and m = c = 0.

    Raises
    ------
    ValueError
        For sizes below 1 or a negative `l1`.

    References
    ----------
    Bricken et al. 2023, "Towards Monosemanticity" (these layers, m subtracted from the input, columns of length 1);
    Cunningham et al. 2023, arXiv:2309.08600; Simon & Zou 2025, doi:10.1038/s41592-025-02836-7 (protein embeddings).
    Lengths are divided out inside the model, so that no step can change them: Salimans & Kingma 2016, arXiv:1602.07868.
    """

    loss_unit = "squared error and penalty per cell"

    def __init__(self, n_inputs: int, n_latent: int, l1: float = 1.0, unit_norm: bool = True, seed: int = 0):
        super().__init__()
        n_inputs, n_latent = whole("n_inputs", n_inputs, 1), whole("n_latent", n_latent, 1)
        if not 0 <= l1 < float("inf"):
            raise ValueError(f"l1 is {l1}; the weight of the penalty is a finite number ≥ 0.")
        self.n_genes, self.n_latent, self.l1, self.unit_norm = n_inputs, n_latent, float(l1), unit_norm
        with local_seed(seed):
            directions = nn.functional.normalize(torch.randn(n_inputs, n_latent, dtype=torch.float64), dim=0).float()
            self.encoder = nn.Linear(n_inputs, n_latent)
        self.encoder.weight = nn.Parameter(directions.T.clone())
        self.encoder.bias = nn.Parameter(torch.zeros(n_latent))
        self.weight = nn.Parameter(directions)
        self.bias = nn.Parameter(torch.zeros(n_inputs))

    @property
    def dictionary(self) -> Tensor:
        """The columns that decode, (n_inputs, n_latent), of length 1 unless ``unit_norm=False``."""
        return nn.functional.normalize(self.weight, dim=0) if self.unit_norm else self.weight

    def encode(self, x: Tensor) -> Tensor:
        """Turn x (batch, n_inputs) into codes z ≥ 0 (batch, n_latent)."""
        return torch.relu(self.encoder(x - self.bias))

    def decode(self, z: Tensor) -> Tensor:
        """Add up columns: codes z (batch, n_latent) into x̂ (batch, n_inputs)."""
        return z @ self.dictionary.T + self.bias

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction x̂ (batch, n_inputs) and the code z (batch, n_latent)."""
        z = self.encode(x)
        return self.decode(z), z

    def loss(self, minibatch: Minibatch, kl_weight: float = 1.0) -> Loss:
        """Squared error and penalty per cell, both sums, and the mean of their sum.

        The penalty λ Σ z stands where other models have their KL. It is minus the logarithm of an exponential prior
        over z ≥ 0, up to a constant.
        """
        x_hat, z = self(minibatch.x)
        reconstruction = ((minibatch.x - x_hat) ** 2).sum(dim=1)  # (batch, n_inputs) -> (batch,)
        return mean_loss(reconstruction, self.l1 * z.sum(dim=1), kl_weight)
