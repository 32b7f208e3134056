"""The restricted Boltzmann machine: one layer of hidden units, learnt by contrastive divergence; a stack of them
unrolled into a deep autoencoder."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.arguments import whole
from course_lib.models.base import Loss, Minibatch, local_seed, mean_loss
from course_lib.models.deep import DeepAutoencoder


class RBM(nn.Module):
    """Visible units v in [0, 1] and hidden units h, joined by weights W, with no weight inside a layer.

    The energy is E(v, h) = −vᵀWh − aᵀv − bᵀh for binary h, and −vᵀWh − aᵀv + ½‖h − b‖² for real ones, which are then
    Gaussian with variance 1 given v.

    Parameters
    ----------
    n_visible, n_hidden
        Numbers of units.
    hidden
        ``"binary"`` or ``"gaussian"``.
    n_steps
        k of CD-k: steps of the Markov chain that starts at the data.
    seed
        Seed of the starting weights, N(0, 0.01²); the biases start at 0.

    Raises
    ------
    ValueError
        For sizes or an `n_steps` below 1, or an unknown `hidden`.

    References
    ----------
    Hinton 2002 (contrastive divergence); Hinton & Salakhutdinov 2006 (real-valued hidden units on top of a stack).
    """

    loss_unit = "difference of free energies per image (nats)"

    def __init__(self, n_visible: int, n_hidden: int, hidden: str = "binary", n_steps: int = 1, seed: int = 0):
        super().__init__()
        if hidden not in ("binary", "gaussian"):
            raise ValueError(f'hidden is {hidden!r}; choose "binary" or "gaussian".')
        size = whole("n_visible", n_visible, 1), whole("n_hidden", n_hidden, 1)
        self.hidden, self.n_steps = hidden, whole("n_steps", n_steps, 1)
        self.n_genes, self.n_latent = size
        with local_seed(seed):
            self.weight = nn.Parameter(0.01 * torch.randn(size, dtype=torch.float64).float())
        self.visible_bias, self.hidden_bias = nn.Parameter(torch.zeros(size[0])), nn.Parameter(torch.zeros(size[1]))

    def encode(self, v: Tensor) -> Tensor:
        """Return E[h | v], (batch, n_hidden): probabilities of binary units, means of Gaussian ones."""
        field = v @ self.weight + self.hidden_bias
        return field if self.hidden == "gaussian" else torch.sigmoid(field)

    def decode(self, h: Tensor) -> Tensor:
        """Return P(v = 1 | h), (batch, n_visible)."""
        return torch.sigmoid(h @ self.weight.T + self.visible_bias)

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction (batch, n_visible) by way of E[h | v], and E[h | v]."""
        h = self.encode(v)
        return self.decode(h), h

    def free_energy(self, v: Tensor) -> Tensor:
        """Return F(v) = −log Σ_h exp(−E(v, h)), (batch,), in nats; for Gaussian h without the constant (d/2) log 2π."""
        field = v @ self.weight + self.hidden_bias
        if self.hidden == "gaussian":
            over_h = 0.5 * (field**2 - self.hidden_bias**2).sum(dim=1)
        else:
            over_h = F.softplus(field).sum(dim=1)
        return -v @ self.visible_bias - over_h

    def chain(self, v: Tensor) -> Tensor:
        """Run `n_steps` of the Markov chain v → h → v from v (batch, n_visible): h is drawn, v is P(v = 1 | h).

        Gibbs sampling would draw v as well. With its probability instead the gradient is less noisy, and a long chain
        ends near the machine's own distribution, not at it.
        """
        for _ in range(self.n_steps):
            h = self.encode(v)
            h = h + torch.randn_like(h) if self.hidden == "gaussian" else torch.bernoulli(h)
            v = self.decode(h)
        return v

    def loss(self, minibatch: Minibatch, kl_weight: float = 1.0) -> Loss:
        """F(data) − F(chain's end): its gradient is that of contrastive divergence. The value itself need not fall."""
        with torch.no_grad():
            fantasy = self.chain(minibatch.x)
        difference = self.free_energy(minibatch.x) - self.free_energy(fantasy)
        return mean_loss(difference, torch.zeros_like(difference), kl_weight)

    def check_data(self, x: Tensor) -> None:
        """Raise a ValueError where values x are not between 0 and 1."""
        if x.min() < 0 or x.max() > 1:
            raise ValueError(
                f"visible units take values between 0 and 1, the data run from {x.min():.3g} to {x.max():.3g}."
            )


def unroll(rbms: Sequence[RBM]) -> DeepAutoencoder:
    """Make a stack of machines into a deep autoencoder of sigmoid units: up by Wᵀ, down by W.

    Its weights have the precision of the machines' and are on their device.

    Parameters
    ----------
    rbms
        From the images to the code, each with as many visible units as the one below has hidden ones. Only the last
        has Gaussian hidden units, since the code of the autoencoder is linear and the layers below it are not.

    Raises
    ------
    ValueError
        For no machine, machines that do not fit on one another, or hidden units that are not as above.
    """
    sizes = [rbm.n_genes for rbm in rbms] + [rbms[-1].n_latent] if rbms else []
    if not rbms or any(below.n_latent != above.n_genes for below, above in itertools.pairwise(rbms)):
        shapes = [tuple(rbm.weight.shape) for rbm in rbms]
        raise ValueError(f"rbms have the shapes {shapes}; give at least one, each as wide below as the last is above.")
    kinds = [rbm.hidden for rbm in rbms]
    if kinds != ["binary"] * (len(rbms) - 1) + ["gaussian"]:
        raise ValueError(f"rbms have the hidden units {kinds}; give binary ones, and Gaussian ones in the last alone.")
    model = DeepAutoencoder(sizes, activation="sigmoid").to(rbms[0].weight)  # its precision and device
    up, down = list(model.encoder[::2]), list(model.decoder[::2])
    with torch.no_grad():
        for rbm, encoder, decoder in zip(rbms, up, reversed(down), strict=True):
            encoder.weight.copy_(rbm.weight.T)
            encoder.bias.copy_(rbm.hidden_bias)
            decoder.weight.copy_(rbm.weight)
            decoder.bias.copy_(rbm.visible_bias)
    return model
