"""An autoencoder and a variational autoencoder, side by side."""

from matplotlib.axes import Axes

from course_lib.drawings.autoencoders import autoencoder
from course_lib.drawings.base import FILLS, INK, bar, box, funnel


def ae_and_vae(axes) -> None:
    """Draw an autoencoder and a variational autoencoder, one in each of two axes."""
    autoencoder(axes[0], ("D", "d", "D"))
    axes[0].set_title("autoencoder")
    variational_autoencoder(axes[1])
    axes[1].set_title("variational autoencoder")


def variational_autoencoder(ax: Axes) -> Axes:
    """Draw x -> encoder -> (μ, log σ²) -> a draw of z -> decoder -> the mean of x, with the prior of z above it."""
    arrow = {"arrowstyle": "->", "color": INK}
    bar(ax, 0.0, 3.0, "input", "$x$", "D")
    funnel(ax, 0.9, 3.0, 1.9, "encoder", "encoder")
    for y, name in ((0.55, r"$\mu$"), (-0.55, r"$\log\,\sigma_z^2$")):
        box(ax, 3.75, y, name, FILLS["code"], 1.1)
    bar(ax, 5.6, 1.0, "code", "$z$", "d")
    for y in (0.55, -0.55):
        ax.annotate("", (5.5, 0.35 * y), (4.4, y), arrowprops=arrow)
    ax.text(4.95, -1.05, "drawn", ha="center", va="center", fontsize=9, color=INK, style="italic")
    box(ax, 5.85, 1.95, r"prior $N(0, I)$", "white", 2.1)
    ax.annotate("", (5.85, 0.6), (5.85, 1.6), arrowprops=arrow | {"ls": "--"})
    funnel(ax, 6.5, 1.0, 3.0, "decoder", "decoder")
    bar(ax, 9.1, 3.0, "output", r"$\hat{x}$", "D")
    ax.annotate("", (10.9, 0), (9.75, 0), arrowprops=arrow)
    ax.text(10.3, 0.22, "drawn", ha="center", fontsize=9, color=INK, style="italic")
    bar(ax, 11.0, 3.0, "output", "$x$", "D")
    ax.text(3.75, -1.25, "d each", ha="center", va="top", fontsize=10, color=INK)
    ax.set(xlim=(-0.4, 11.9), ylim=(-2.2, 2.9), aspect="equal")
    ax.axis("off")
    return ax
