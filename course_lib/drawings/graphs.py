"""Computation graphs: what follows from what, and the way a gradient takes back."""

from matplotlib.axes import Axes
from matplotlib.patches import Circle

from course_lib.drawings.base import FILLS, INK, box

BACK = "#d55e00"


def reparameterization(axes) -> None:
    """Draw the two ways to a random z, one in each of two axes: z as a draw, and z as a function of a draw ε.

    Dark arrows go forward, coloured ones take the gradient of the loss back. A circle is drawn at random; the gradient
    does not pass it.
    """
    titles = ("z is drawn: the gradient stops", "ε is drawn, z is computed: the gradient passes")
    for ax, title, computed in zip(axes, titles, (False, True), strict=True):
        box(ax, 0, 0, "encoder", FILLS["encoder"], 1.9)
        box(ax, -0.9, 1.5, "$\\mu$", FILLS["encoder"], 0.7)
        box(ax, 0.9, 1.5, "$\\sigma$", FILLS["encoder"], 0.7)
        box(ax, 0, 4.7, "decoder, loss", FILLS["decoder"], 1.9)
        if computed:
            box(ax, 0, 3.1, "$z = \\mu + \\sigma \\varepsilon$", FILLS["code"], 1.9)
            _draw(ax, 2.6, 3.1, "$\\varepsilon$", "$\\mathcal{N}(0, I)$")
            _arrow(ax, (2.1, 3.1), (1.05, 3.1))
        else:
            _draw(ax, 0, 3.1, "$z$", "$\\mathcal{N}(\\mu, \\sigma^2)$")
        top = 3.45 if computed else 3.6
        for side in (-1, 1):
            _arrow(ax, (0.45 * side, 0.35), (0.8 * side, 1.15))
            _arrow(ax, (0.8 * side, 1.85), (0.45 * side, 2.7))
        _arrow(ax, (-0.12, top), (-0.12, 4.35))
        _arrow(ax, (0.12, 4.35), (0.12, top), BACK)
        for side in (-1, 1) if computed else ():
            _arrow(ax, (0.65 * side, 2.7), (1.0 * side, 1.85), BACK)
            _arrow(ax, (1.0 * side, 1.15), (0.65 * side, 0.35), BACK)
        if not computed:
            ax.text(0, 2.05, "?", ha="center", va="center", fontsize=16, color=BACK)
        ax.set(xlim=(-2.2, 3.6), ylim=(-0.5, 5.2), aspect="equal")
        ax.set_title(title, fontsize=11)
        ax.axis("off")


def _draw(ax: Axes, x: float, y: float, name: str, law: str) -> None:
    """Draw a circle for what is drawn at random, with its name inside and its distribution beside it."""
    ax.add_patch(Circle((x, y), 0.46, facecolor="white", edgecolor=BACK, lw=1.6))
    ax.text(x, y, name, ha="center", va="center", fontsize=11, color="black")
    above = x > 1
    ax.text(x if above else x + 0.6, y + 0.62 * above, law, ha="center" if above else "left", va="center", fontsize=9)


def _arrow(ax: Axes, start: tuple, end: tuple, color: str = INK) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color, "lw": 1.2, "shrinkA": 0, "shrinkB": 0})
