"""Latent space as a plane: densities over it, maps of it, and the Gaussians that an encoder puts into it."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

__all__ = ["ellipse", "plane"]


def plane(values: np.ndarray, axis: np.ndarray, ax: Axes | None = None, title: str = "", label: str = "") -> Axes:
    """Show values over the plane of two latent numbers as colours, darker for larger.

    Parameters
    ----------
    values
        (n_points, n_points): entry (i, j) belongs to z₁ = axis[i], z₂ = axis[j].
    axis
        (n_points,), evenly spaced, rising.
    label
        What the values are, written beside a colour bar; without it there is no bar.

    Raises
    ------
    ValueError
        For values that are not one for each two points of `axis`.
    """
    if np.shape(values) != (len(axis), len(axis)):
        raise ValueError(f"values has shape {np.shape(values)}; with {len(axis)} points of axis give a square of them.")
    ax = ax or plt.gca()
    half = (axis[1] - axis[0]) / 2
    extent = (axis[0] - half, axis[-1] + half) * 2
    image = ax.imshow(np.asarray(values).T, origin="lower", extent=extent, cmap="Blues", interpolation="nearest")
    ax.set(xlabel="z₁", ylabel="z₂", title=title)
    ax.grid(False)
    if label:
        ax.figure.colorbar(image, ax=ax, label=label)
    return ax


def ellipse(mean, sd, ax: Axes | None = None, radii=(1, 2), **style) -> Axes:
    """Draw a Gaussian with independent dimensions as ellipses at `radii` standard deviations around its mean.

    Other keyword arguments are those of a matplotlib patch, such as ``color`` or ``ls``.

    Parameters
    ----------
    mean, sd
        (2,) each, in the units of the axes.
    """
    ax = ax or plt.gca()
    for radius in radii:
        width, height = 2 * radius * np.asarray(sd, dtype=float)
        ax.add_patch(Ellipse(mean, width, height, **{"fill": False, "color": "C1", "lw": 1.5} | style))
    return ax
