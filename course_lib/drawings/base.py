"""Boxes, bars and funnels: what the diagrams are made of."""

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Polygon

INK = "#333333"
FILLS = {"input": "#e8eef7", "encoder": "#a8c6e8", "code": "#f6c28b", "decoder": "#b5ddc0", "output": "#e8eef7"}


def box(ax: Axes, x: float, y: float, text: str, fill: str, width: float = 0.86) -> None:
    """Draw a box of this width around (x, y), filled with a colour, with a text in it."""
    _patch(ax, x - width / 2, y - 0.3, width, 0.6, fill)
    ax.text(x, y, text, ha="center", va="center", fontsize=9, color="black")


def bar(ax: Axes, x: float, height: float, part: str, name: str, size: str) -> None:
    """Draw a layer as an upright bar that begins at x, centred at y = 0: its name inside, its size below."""
    y = -height / 2
    _patch(ax, x, y, 0.5, height, FILLS[part])
    ax.text(x + 0.25, 0, name, ha="center", va="center", fontsize=13, color="black")
    ax.text(x + 0.25, y - 0.12, size, ha="center", va="top", fontsize=10, color=INK)


def funnel(ax: Axes, x: float, left: float, right: float, part: str, name: str) -> None:
    """Draw layers whose height goes from `left` to `right`, centred at y = 0, with a name inside."""
    corners = [(x, -left / 2), (x, left / 2), (x + 2.2, right / 2), (x + 2.2, -right / 2)]
    ax.add_patch(Polygon(corners, closed=True, facecolor=FILLS[part], edgecolor=INK, lw=0.8))
    ax.text(x + 1.1, 0, name, ha="center", va="center", fontsize=10, color="black")


def _patch(ax: Axes, x: float, y: float, width: float, height: float, fill: str) -> None:
    shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.02", facecolor=fill, edgecolor=INK, lw=0.8)
    ax.add_patch(shape)
