"""Count data with known truth.

A simulated data set is an :class:`~anndata.AnnData`: counts in ``X``, and the truth beside them, in ``obs`` (cells),
``var`` (genes), ``varm`` and ``layers``. A chapter can therefore say how far a model is from what really happened.
"""

from course_lib.simulate.again import measure_again
from course_lib.simulate.clusters import three_clusters
from course_lib.simulate.splatter import splatter
from course_lib.simulate.trajectory import trajectory

__all__ = ["measure_again", "splatter", "three_clusters", "trajectory"]
