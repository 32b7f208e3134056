"""Figures of counts: probabilities, variance against mean, a table with its extra zeros marked."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from course_lib.plotting.base import MARKERS

SHADES = ListedColormap(["#e8e8e8", "#56b4e9", "#de8f05"])
"""Colours of a count table's entries: a zero that was counted, a count above 0, an extra zero."""


def probabilities(k, lines: dict[str, np.ndarray], ax: Axes | None = None, bars=None, title: str = "") -> Axes:
    """Draw probabilities of the counts `k`: one line with its own marker for each model, and bars for what was seen.

    Parameters
    ----------
    k
        Counts, (n,).
    lines
        Name -> probabilities (n,).
    bars
        ``(name, shares)`` of what was seen or drawn, (n,); None draws no bars.
    """
    ax = ax or plt.gca()
    if bars is not None:
        ax.bar(k, bars[1], width=0.8, color="#c8c8c8", label=bars[0])
    for (name, values), marker in zip(lines.items(), np.resize(list(MARKERS), len(lines)), strict=True):
        ax.plot(k, values, marker=marker, markersize=3.5, linewidth=1.2, label=name)
    ax.set(xlabel="count", ylabel="probability", title=title)
    ax.legend(frameon=False)
    return ax


def mean_variance(groups: dict[str, tuple], ax: Axes | None = None, title: str = "") -> Axes:
    """Scatter the variance of genes against their mean, both on logarithmic axes, with the line of a Poisson.

    Parameters
    ----------
    groups
        Name -> (means, variances), each (n_genes,) and above 0.
    """
    ax = ax or plt.gca()
    for (name, (mean, variance)), marker in zip(groups.items(), np.resize(list(MARKERS), len(groups)), strict=True):
        ax.plot(mean, variance, marker, markersize=3, alpha=0.5, label=name)
    ends = np.array([min(np.min(m) for m, _ in groups.values()), max(np.max(m) for m, _ in groups.values())])
    ax.plot(ends, ends, color="black", label="variance = mean")
    ax.set(xscale="log", yscale="log", xlabel="mean count", ylabel="variance", title=title)
    ax.legend(frameon=False)
    return ax


def count_table(x: np.ndarray, extra: np.ndarray | None = None, ax: Axes | None = None, title: str = "") -> Axes:
    """Write out a matrix of counts, with zeros in grey and extra zeros, where they are known, in orange, as ×.

    Parameters
    ----------
    x
        (n_cells, n_genes), whole numbers.
    extra
        Which entries are extra zeros, (n_cells, n_genes), bool; None marks none.
    """
    ax = ax or plt.gca()
    extra = np.zeros(x.shape, dtype=bool) if extra is None else extra
    ax.imshow(np.where(extra, 2, x > 0), aspect="auto", cmap=SHADES, vmin=0, vmax=2)
    for (row, column), value in np.ndenumerate(x):
        text = "×" if extra[row, column] else f"{value:.0f}"
        ax.text(column, row, text, ha="center", va="center", fontsize=9, color="black")
    ax.set(xlabel="gene", ylabel="cell", title=title, xticks=[], yticks=[])
    ax.grid(False)
    return ax
