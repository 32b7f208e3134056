"""Bounds: what a bound averages over, and the two spaces that a VAE joins."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import ConnectionPatch

from course_lib.plotting.base import MARKERS
from course_lib.plotting.latent_space import ellipse


def weights(log_ratio, elbo: float, evidence: float, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw how log P(x, z) − log q(z) varies over draws from q, with its mean, the ELBO, and log P(x).

    Parameters
    ----------
    log_ratio
        (n_draws,), in nats.
    elbo, evidence
        The two vertical lines, in nats.
    """
    ax = ax or plt.gca()
    ax.hist(log_ratio, bins=np.linspace(evidence - 3, evidence + 1, 61), color="#a8c6e8")
    ax.axvline(evidence, color="black", lw=1.2, label="log P(x)")
    ax.axvline(elbo, color="#d55e00", lw=1.2, ls="--", label="ELBO")
    ax.set(xlabel="log of the ratio (nats)", ylabel="draws from q", title=title)
    return ax


def two_spaces(axes, x, z, marked, spreads, drawn) -> None:
    """Draw cells in x-space and, beside them, their codes in z-space; an encoder and a decoder as arrows between.

    Parameters
    ----------
    axes
        Two axes side by side.
    x, z
        Two coordinates of each cell in either space, (n_cells, 2).
    marked
        Indices of a few cells, each with a colour of its own.
    spreads
        Standard deviations of q(z∣x), (n_cells, 2).
    drawn
        New cells drawn from P(x∣z) at the code of the last marked cell, (n_new, 2), in x-space.

    Raises
    ------
    ValueError
        For spreads that do not have two columns.
    """
    for ax, points, name in ((axes[0], x, "x-space: cells"), (axes[1], z, "z-space: codes")):
        ax.scatter(*points.T, s=5, color="0.75", linewidths=0)
        ax.set_title(name)
    for i, n in enumerate(marked):
        for ax, points in zip(axes, (x, z), strict=True):
            ax.plot(*points[n], MARKERS[i], color=f"C{i}", ms=8, mec="black")
        ellipse(z[n], spreads[n], axes[1], color=f"C{i}")
    axes[0].scatter(*drawn.T, s=25, marker="x", color=f"C{len(marked) - 1}")
    ellipse((0, 0), (1, 1), axes[1], radii=(1, 2), color="black", linestyle=":")
    first, last, made = marked[0], marked[-1], drawn.mean(axis=0)
    beside = (drawn[:, 0].max(), made[1])  # off the new cells
    arrows = (
        ("encoder q(z∣x)", axes[0], x[first], axes[1], z[first], x[first], "C0"),
        ("decoder P(x∣z)", axes[1], z[last], axes[0], made, beside, f"C{len(marked) - 1}"),
    )
    for words, here, start, there, end, place, color in arrows:
        line = {"arrowstyle": "->", "lw": 1.8, "color": color, "shrinkA": 8, "shrinkB": 14, "mutation_scale": 18}
        here.figure.add_artist(ConnectionPatch(start, end, "data", "data", axesA=here, axesB=there, zorder=5, **line))
        axes[0].annotate(words, place, (16, 14), textcoords="offset points", color=color)
