"""Figures: arrays in, an optional ``ax``, axes out. Each function draws one picture and labels it."""

from course_lib.plotting.base import (
    MARKERS,
    PAIR,
    SINGLE,
    count_matrix,
    curve,
    deviations,
    embedding,
    images,
    loss_curves,
    pair,
    set_style,
)
from course_lib.plotting.bounds import two_spaces, weights
from course_lib.plotting.counts import count_table, mean_variance, probabilities
from course_lib.plotting.latent_space import ellipse, plane

__all__ = [
    "MARKERS",
    "PAIR",
    "SINGLE",
    "count_matrix",
    "count_table",
    "curve",
    "deviations",
    "ellipse",
    "embedding",
    "images",
    "loss_curves",
    "mean_variance",
    "pair",
    "plane",
    "probabilities",
    "set_style",
    "two_spaces",
    "weights",
]
