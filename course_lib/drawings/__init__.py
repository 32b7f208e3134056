"""Diagrams: boxes and arrows that the chapters draw instead of importing pictures."""

from course_lib.drawings.autoencoders import autoencoder, channel, way_in
from course_lib.drawings.directions import best_line

__all__ = ["autoencoder", "best_line", "channel", "way_in"]
