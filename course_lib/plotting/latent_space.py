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


def ellipse(mean, spread, ax: Axes | None = None, radii=(2,), label: str | None = None, **style) -> Axes:
    """Draw a two-dimensional Gaussian as ellipses, `radii` standard deviations around its mean (2: 86 % lie inside).

    Other keyword arguments are those of a matplotlib patch, such as ``color`` or ``linestyle``.

    Parameters
    ----------
    mean
        (2,), in the units of the axes.
    spread
        Standard deviations (2,) of independent dimensions, or a covariance matrix (2, 2), positive definite.
    radii
        One ellipse for each.
    label
        Name in the legend, given to the first.

    Raises
    ------
    ValueError
        For a mean that does not have two numbers, or a spread of another shape.
    """
    if np.shape(mean) != (2,) or np.shape(spread) not in ((2,), (2, 2)):
        raise ValueError(
            f"mean has shape {np.shape(mean)} and spread {np.shape(spread)}; give (2,), and (2,) or (2, 2)."
        )
    ax = ax or plt.gca()
    sd, angle = np.asarray(spread, dtype=float), 0.0
    if sd.ndim == 2:
        variances, axes = np.linalg.eigh(sd)  # rising
        sd, angle = np.sqrt(variances[::-1]), np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    for i, radius in enumerate(radii):
        width, height = 2 * radius * sd
        shape = {"fill": False, "color": "C0", "linewidth": 1.5, "label": None if i else label}
        ax.add_patch(Ellipse(mean, width, height, angle=angle, **shape | style))
    return ax
