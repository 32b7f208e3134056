"""What every model takes and gives: a minibatch in, a loss out."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.arguments import is_whole


class Minibatch(NamedTuple):
    """Some cells, as a model sees them.

    Attributes
    ----------
    x
        (batch, n_genes): counts for a count model, a chosen layer for the others.
    library
        (batch, 1): library size ℓ, natural scale.
    batch_index
        (batch,): integer code of the experimental batch; 0 where there is one batch only.
    """

    x: Tensor
    library: Tensor
    batch_index: Tensor


class Loss(NamedTuple):
    """A loss and its parts.

    Attributes
    ----------
    loss
        Scalar to minimise: the mean over cells of ``reconstruction + kl_weight * kl``.
    reconstruction
        (batch,): summed over genes.
    kl
        (batch,): summed over latent dimensions; zero for a model without a prior. Where the code has a penalty instead
        (a sparse autoencoder), that stands here.
    """

    loss: Tensor
    reconstruction: Tensor
    kl: Tensor


def mean_loss(reconstruction: Tensor, kl: Tensor, kl_weight: float = 1.0) -> Loss:
    """Join per-cell terms, each (batch,), into a :class:`Loss`: the only place where an average over cells is taken."""
    return Loss((reconstruction + kl_weight * kl).mean(), reconstruction, kl)


def checked_sizes(*sizes: int) -> list[int]:
    """Return the widths of layers as ints, or raise a ValueError where one is no whole number of at least 1."""
    if not all(is_whole(size, least=1) for size in sizes):
        raise ValueError(f"layer sizes are {sizes}; each is a whole number, at least 1.")
    return [int(size) for size in sizes]


def multilayer(
    sizes: list[int],
    dropout: float = 0.0,
    activation: type[nn.Module] = nn.ReLU,
    start: Callable[[nn.Linear], None] | None = None,
) -> nn.Sequential:
    """Linear layers with these sizes; `activation`, and dropout if asked for, between them and not after the last.

    Starting weights are PyTorch's own, or those that `start` gives to a layer. They are drawn in double precision and
    then rounded: drawn in single precision they differ in the last digit from one processor to the next, and training
    makes that grow.
    """
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        if layers:
            layers += [activation()] + ([nn.Dropout(dropout)] if dropout else [])
        layers.append(nn.Linear(n_in, n_out, dtype=torch.float64))
        if start:
            start(layers[-1])
    return nn.Sequential(*layers).float()


@contextmanager
def local_seed(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch on the CPU and on `device` inside a ``with`` block and put both states back afterwards."""
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU, and none is put back
        for gpu in cuda:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield
