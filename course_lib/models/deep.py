"""Deep autoencoders whose activation and starting weights can be chosen: what made depth hard, and then easy."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files

import torch
from torch import nn

from course_lib.arguments import is_whole
from course_lib.models.autoencoder import Autoencoder
from course_lib.models.base import local_seed, multilayer

CURVES_SIZES = (784, 400, 200, 100, 50, 25, 6)
"""The network of Hinton & Salakhutdinov 2006 for the curves."""

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "none": nn.Identity}


class DeepAutoencoder(Autoencoder):
    """Layers of the given sizes down to the code, the same in reverse up again; a linear code.

    Parameters
    ----------
    sizes
        Widths from the input to the code, such as ``(784, 400, 200, 100, 50, 25, 6)``.
    activation
        Between layers: ``"relu"``, ``"sigmoid"``, ``"tanh"`` or ``"none"``. Neither code nor output has one of these.
    init
        Starting weights, drawn from a normal distribution of variance 2 / n_in (``"he"``), 2 / (n_in + n_out)
        (``"glorot"``) or 0.01² (``"small"``), with biases of zero; or PyTorch's own for a linear layer, uniform with
        variance 1 / (3 n_in) (``"pytorch"``).
    output
        Kind of input; see :class:`~course_lib.models.Autoencoder`.
    seed
        Seed of the starting weights.

    Raises
    ------
    ValueError
        For fewer than two sizes or sizes below 1, and for unknown settings.

    References
    ----------
    The sizes and sigmoid units: Hinton & Salakhutdinov 2006. ``"glorot"``: Glorot & Bengio 2010. ``"he"``: He et al.
    2015. ``"small"``: the start of restricted Boltzmann machines in Hinton 2012, section 8.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        init: str = "he",
        output: str = "probability",
        seed: int = 0,
    ):
        sizes = list(sizes)
        if len(sizes) < 2 or not all(is_whole(size, least=1) for size in sizes):
            raise ValueError(f"sizes is {sizes}; give the width of the input, of each layer, and of the code.")
        sizes = [int(size) for size in sizes]
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; choose one of {', '.join(map(repr, ACTIVATIONS))}.")
        if init not in SPREADS and init != "pytorch":
            raise ValueError(f"init is {init!r}; choose one of {', '.join(map(repr, [*SPREADS, 'pytorch']))}.")
        settings = {
            "activation": ACTIVATIONS[activation],
            "start": partial(_drawn, SPREADS[init]) if init in SPREADS else None,
        }
        with local_seed(seed):
            super().__init__(multilayer(sizes, **settings), multilayer(sizes[::-1], **settings), output)


def trained_on_curves() -> DeepAutoencoder:
    """Return the autoencoder of sizes `CURVES_SIZES` that ``make assets`` trained on 40,000 images of curves.

    Adam with a cosine schedule from 0.002, 80 epochs, minibatches of 100 (`tools/assets.py`); the weights are stored in
    half precision and returned in double.

    Raises
    ------
    ValueError
        Where the file that was installed does not hold the weights of this network.
    """
    model = DeepAutoencoder(CURVES_SIZES)
    with (files("course_lib") / "data" / "curves_autoencoder.pt").open("rb") as file:
        weights = torch.load(file, weights_only=True)
    shapes, expected = ({name: w.shape for name, w in state.items()} for state in (weights, model.state_dict()))
    if shapes != expected:
        raise ValueError("curves_autoencoder.pt holds other weights than this network has; install course_lib again.")
    model.load_state_dict(weights)
    return model.double()


SPREADS = {
    "he": lambda n_in, n_out: (2 / n_in) ** 0.5,
    "glorot": lambda n_in, n_out: (2 / (n_in + n_out)) ** 0.5,
    "small": lambda n_in, n_out: 0.01,
}
"""Standard deviation of the starting weights of a layer from n_in to n_out units."""


def _drawn(spread: Callable[[int, int], float], linear: nn.Linear) -> None:
    nn.init.normal_(linear.weight, std=spread(linear.in_features, linear.out_features))
    nn.init.zeros_(linear.bias)
