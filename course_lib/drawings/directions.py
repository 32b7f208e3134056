"""What principal component analysis looks for, as a picture."""

import numpy as np


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
