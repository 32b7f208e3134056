"""Diagrams: boxes and arrows that the chapters draw instead of importing pictures."""

from course_lib.drawings.autoencoders import autoencoder, channel, way_in
from course_lib.drawings.directions import best_line
from course_lib.drawings.graphs import reparameterization
from course_lib.drawings.variational import ae_and_vae

__all__ = ["ae_and_vae", "autoencoder", "best_line", "channel", "reparameterization", "way_in"]
