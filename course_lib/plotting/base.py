"""The book's look, and the figures that every chapter uses."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

SINGLE, PAIR = (6.0, 3.7), (10.0, 3.7)
"""Figure sizes in inches: one panel, and two panels side by side."""

MARKERS = "osD^vPX*<>h"
"""Markers that go with the palette, so that no finding rests on colour alone: 11 of them beside 10 colours."""


def set_style() -> None:
    """Set the book's look: colour-blind-safe palette, light grid, 100 dpi."""
    sns.set_theme(style="whitegrid", palette="colorblind", rc={"figure.figsize": SINGLE, "figure.dpi": 100})


def pair(n: int = 2) -> tuple[plt.Figure, np.ndarray]:
    """Return a figure with `n` panels side by side, and their axes (n,)."""
    figure, axes = plt.subplots(1, n, figsize=PAIR, layout="constrained", squeeze=False)
    return figure, axes[0]


def embedding(z: np.ndarray, labels, ax: Axes | None = None, title: str = "", names=("z₁", "z₂"), legend=True) -> Axes:
    """Scatter a two-dimensional embedding, one colour and marker for each label.

    Parameters
    ----------
    z
        (n_cells, 2 or more); the first two columns are drawn.
    labels
        One label per cell; categories keep their order.
    names
        Labels of the two axes.

    Raises
    ------
    ValueError
        For fewer than two columns, or a different number of labels.
    """
    z, ordered = np.asarray(z), pd.Categorical(labels)
    if z.ndim != 2 or z.shape[1] < 2 or len(z) != len(ordered):
        raise ValueError(
            f"z has shape {z.shape} and there are {len(ordered)} labels; give two columns, a label per row."
        )
    ax = ax or plt.gca()
    labels, kinds = np.asarray(ordered), list(ordered.remove_unused_categories().categories)
    colors = sns.color_palette("colorblind", max(len(kinds), 1))
    shuffled = np.random.default_rng(0).permutation(len(z))
    size = np.clip(9000 / len(z), 9, 20)  # few cells: larger marks
    for kind, color, marker in zip(kinds, colors, np.resize(list(MARKERS), len(kinds)), strict=True):
        shown = shuffled[labels[shuffled] == kind]
        ax.scatter(
            z[shown, 0], z[shown, 1], s=size, color=color, marker=marker, alpha=0.6, linewidths=0, label=str(kind)
        )
    ax.set(xlabel=names[0], ylabel=names[1], title=title)
    if legend:
        ax.legend(markerscale=2, frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def loss_curves(history, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw training and validation loss per epoch, with the loss's unit on the axis.

    Parameters
    ----------
    history
        A :class:`~course_lib.training.History`.

    Raises
    ------
    ValueError
        Where no epoch was finished.
    """
    table = history.table()
    if table.empty:
        raise ValueError(f"history has no finished epoch (stopped: {history.stopped}); train again.")
    ax = ax or plt.gca()
    ax.plot(table.index, table["train_loss"], label="training cells")
    if "validation_loss" in table:
        ax.plot(table.index, table["validation_loss"], "--", label="held-out cells")
    ax.set(xlabel="epoch", ylabel=history.unit, title=title)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False)
    return ax


def count_matrix(x: np.ndarray, ax: Axes | None = None, title: str = "", unit: str = "count") -> Axes:
    """Show a matrix of cells × genes as a heat map with a colour bar in `unit`.

    Parameters
    ----------
    x
        (n_cells, n_genes), dense.
    """
    ax = ax or plt.gca()
    image = ax.imshow(x, aspect="auto", cmap="viridis", interpolation="nearest", vmin=0)
    ax.set(xlabel="gene", ylabel="cell", title=title)
    ax.grid(False)
    ax.figure.colorbar(image, ax=ax, label=unit)
    return ax


def deviations(x: np.ndarray, ax: Axes | None = None, title: str = "", limit: float = 2.0) -> Axes:
    """Show centred values of cells × genes as a heat map: blue below the gene's mean, white at it, red above.

    Parameters
    ----------
    x
        (n_cells, n_genes), dense; values beyond ± `limit` take the end colours.
    """
    ax = ax or plt.gca()
    ax.imshow(x, aspect="auto", cmap="RdBu_r", interpolation="nearest", vmin=-limit, vmax=limit)
    ax.set(xlabel="gene", ylabel="cell", title=title, xticks=[], yticks=[])
    ax.grid(False)
    return ax


def images(rows: dict[str, np.ndarray], shape: tuple[int, int], title: str = "") -> plt.Figure:
    """Show rows of grey-scale images under one another, each row with its name.

    Parameters
    ----------
    rows
        Name of a row -> images (n_images, height · width), values from 0 (black) to 1 (white); rows of equal length.
    shape
        (height, width) of an image in pixels.
    """
    n_images = len(next(iter(rows.values())))
    figure, axes = plt.subplots(
        len(rows), n_images, figsize=(0.75 * n_images + 1.5, 0.85 * len(rows) + 0.3), squeeze=False
    )
    for (name, pictures), line in zip(rows.items(), axes, strict=True):
        for ax, picture in zip(line, pictures, strict=True):
            ax.imshow(picture.reshape(shape), cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(title)
    return figure


def curve(x, lines: dict[str, np.ndarray], ax: Axes | None = None, xlabel="", ylabel="", title="", log_x=False) -> Axes:
    """Draw one or more lines over the same `x`, each with its own marker and name.

    Parameters
    ----------
    x
        (n_points,).
    lines
        Name -> values (n_points,), or (n_points, n_seeds): then the mean is drawn, and the range as a band.

    Raises
    ------
    ValueError
        For values that do not have one row per point.
    """
    for name, values in lines.items():
        if len(values) != len(x):
            raise ValueError(
                f"lines[{name!r}] has {len(values)} rows for {len(x)} values of x; give one row per point."
            )
    ax = ax or plt.gca()
    for (name, values), marker in zip(lines.items(), np.resize(list(MARKERS), len(lines)), strict=True):
        values = np.asarray(values, dtype=float).reshape(len(x), -1)
        (line,) = ax.plot(x, values.mean(axis=1), marker=marker, label=name)
        if values.shape[1] > 1:
            ax.fill_between(x, values.min(axis=1), values.max(axis=1), color=line.get_color(), alpha=0.2, linewidth=0)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if log_x:
        ax.set_xscale("log", base=2)
        ax.set_xticks(x, [f"{value:g}" for value in x])
        ax.minorticks_off()
    if len(lines) > 1:
        ax.legend(frameon=False)
    return ax
