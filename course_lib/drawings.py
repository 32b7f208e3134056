"""Diagrams: boxes and arrows that the chapters draw instead of importing pictures."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Polygon

INK = "#333333"
FILLS = {"input": "#e8eef7", "encoder": "#a8c6e8", "code": "#f6c28b", "decoder": "#b5ddc0", "output": "#e8eef7"}


def autoencoder(ax: Axes | None = None, sizes: tuple[str, str, str] = ("D", "d", "D")) -> Axes:
    """Draw x -> encoder -> z -> decoder -> x̂, with the sizes of x, z and x̂ written under them."""
    ax = ax or plt.gca()
    _bar(ax, 0.0, 3.0, "input", "$x$", sizes[0])
    _funnel(ax, 0.9, 3.0, 1.0, "encoder", "encoder")
    _bar(ax, 3.5, 1.0, "code", "$z$", sizes[1])
    _funnel(ax, 4.4, 1.0, 3.0, "decoder", "decoder")
    _bar(ax, 7.0, 3.0, "output", r"$\hat{x}$", sizes[2])
    arc = {"arrowstyle": "<->", "color": INK, "connectionstyle": "arc3,rad=-0.18"}
    ax.annotate("", (7.25, 1.7), (0.25, 1.7), arrowprops=arc)
    ax.text(3.75, 2.45, "trained to be alike", ha="center", va="bottom", color=INK, fontsize=9)
    ax.set(xlim=(-0.6, 8.1), ylim=(-2.2, 2.9), aspect="equal")
    ax.axis("off")
    return ax


def channel(ax: Axes | None = None) -> Axes:
    """Draw Shannon's communication system, his words above the boxes and an autoencoder's in them."""
    ax = ax or plt.gca()
    parts = (
        ("source", "$x$", "input"),
        ("transmitter", "encoder", "encoder"),
        ("channel", "code $z$", "code"),
        ("receiver", "decoder", "decoder"),
        ("destination", r"$\hat{x}$", "output"),
    )
    arrow = {"arrowstyle": "->", "color": INK}
    for i, (word, name, fill) in enumerate(parts):
        _box(ax, 1.5 * i, 0, name, FILLS[fill], 1.0)
        ax.text(1.5 * i, 0.5, word, ha="center", fontsize=9, color=INK)
        if i:
            ax.annotate("", (1.5 * i - 0.54, 0), (1.5 * i - 0.96, 0), arrowprops=arrow)
    _box(ax, 3.0, -1.3, "rounding, noise", "white", 1.8)
    ax.annotate("", (3.0, -0.34), (3.0, -0.96), arrowprops=arrow)
    ax.set(xlim=(-0.7, 6.7), ylim=(-1.75, 0.85), aspect="equal")
    ax.axis("off")
    return ax


def way_in(axes) -> None:
    """Draw three ways to learn from data without labels, one in each of three axes."""
    stories = (
        ("Encoder: fill in the blank", ["the", "cell", "■", "red"], ["", "", "is", ""]),
        ("Decoder: say what comes next", ["the", "cell", "is", ""], ["", "", "", "red"]),
        ("Autoencoder: say it all again", ["the", "cell", "is", "red"], ["the", "cell", "is", "red"]),
    )
    for ax, (title, given, wanted) in zip(axes, stories, strict=True):
        for i, (word, target) in enumerate(zip(given, wanted, strict=True)):
            for text, y, fill in ((word, 0.0, "input"), (target, 2.6, "code")):
                if text:
                    _box(ax, i, y, text, FILLS[fill])
        bottleneck = given == wanted
        _box(ax, 1.5, 1.3, "a few numbers" if bottleneck else "network", FILLS["encoder"], 1.5 if bottleneck else 3.6)
        for y in (0.45, 1.75):
            ax.annotate("", (1.5, y + 0.4), (1.5, y), arrowprops={"arrowstyle": "->", "color": INK})
        ax.set(xlim=(-0.6, 3.6), ylim=(-0.6, 3.2))
        ax.set_title(title, fontsize=10)
        ax.axis("off")


def best_line(x, axes) -> None:
    """Draw points x (n, 2), centred, with the line that loses least; beside it, the loss of each direction."""
    directions = np.linspace(0, np.pi, 181)
    lines = np.c_[np.cos(directions), np.sin(directions)]
    lost = ((x**2).sum(axis=1)[:, None] - (x @ lines.T) ** 2).mean(axis=0)
    best = lines[lost.argmin()]
    feet = np.outer(x @ best, best)
    axes[0].plot(np.c_[x[:, 0], feet[:, 0]].T, np.c_[x[:, 1], feet[:, 1]].T, color="0.6", lw=0.8)
    axes[0].axline((0, 0), slope=best[1] / best[0], color="C1")
    axes[0].scatter(*x.T, s=16, color="C0", zorder=3)
    axes[0].set(xlabel="first number", ylabel="second number", title="points, and the best line", aspect="equal")
    axes[1].plot(np.degrees(directions), lost)
    axes[1].plot(np.degrees(directions[lost.argmin()]), lost.min(), "o", color="C1")
    axes[1].set(xlabel="direction of the line (degrees)", ylabel="mean squared distance", title="what each line loses")
    axes[1].set_ylim(bottom=0)


def _box(ax: Axes, x: float, y: float, text: str, fill: str, width: float = 0.86) -> None:
    corner = (x - width / 2, y - 0.3)
    ax.add_patch(FancyBboxPatch(corner, width, 0.6, boxstyle="round,pad=0.02", facecolor=fill, edgecolor=INK, lw=0.8))
    ax.text(x, y, text, ha="center", va="center", fontsize=9, color="black")


def _bar(ax: Axes, x: float, height: float, part: str, name: str, size: str) -> None:
    y = -height / 2
    ax.add_patch(FancyBboxPatch((x, y), 0.5, height, boxstyle="round,pad=0.02", fc=FILLS[part], ec=INK, lw=0.8))
    ax.text(x + 0.25, 0, name, ha="center", va="center", fontsize=13, color="black")
    ax.text(x + 0.25, y - 0.12, size, ha="center", va="top", fontsize=10, color=INK)


def _funnel(ax: Axes, x: float, left: float, right: float, part: str, name: str) -> None:
    corners = [(x, -left / 2), (x, left / 2), (x + 2.2, right / 2), (x + 2.2, -right / 2)]
    ax.add_patch(Polygon(corners, closed=True, facecolor=FILLS[part], edgecolor=INK, lw=0.8))
    ax.text(x + 1.1, 0, name, ha="center", va="center", fontsize=10, color="black")
