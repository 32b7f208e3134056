"""What an autoencoder is, as pictures."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from course_lib.drawings.base import FILLS, INK, bar, box, funnel


def autoencoder(ax: Axes | None = None, sizes: tuple[str, str, str] = ("D", "d", "D")) -> Axes:
    """Draw x -> encoder -> z -> decoder -> x̂, with the sizes of x, z and x̂ written under them."""
    ax = ax or plt.gca()
    bar(ax, 0.0, 3.0, "input", "$x$", sizes[0])
    funnel(ax, 0.9, 3.0, 1.0, "encoder", "encoder")
    bar(ax, 3.5, 1.0, "code", "$z$", sizes[1])
    funnel(ax, 4.4, 1.0, 3.0, "decoder", "decoder")
    bar(ax, 7.0, 3.0, "output", r"$\hat{x}$", sizes[2])
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
        box(ax, 1.5 * i, 0, name, FILLS[fill], 1.0)
        ax.text(1.5 * i, 0.5, word, ha="center", fontsize=9, color=INK)
        if i:
            ax.annotate("", (1.5 * i - 0.54, 0), (1.5 * i - 0.96, 0), arrowprops=arrow)
    box(ax, 3.0, -1.3, "rounding, noise", "white", 1.8)
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
                    box(ax, i, y, text, FILLS[fill])
        bottleneck = given == wanted
        box(ax, 1.5, 1.3, "a few numbers" if bottleneck else "network", FILLS["encoder"], 1.5 if bottleneck else 3.6)
        for y in (0.45, 1.75):
            ax.annotate("", (1.5, y + 0.4), (1.5, y), arrowprops={"arrowstyle": "->", "color": INK})
        ax.set(xlim=(-0.6, 3.6), ylim=(-0.6, 3.2))
        ax.set_title(title, fontsize=10)
        ax.axis("off")
