"""Differential expression: which genes differ between two groups of cells, by how much, and how sure one may be."""

from course_lib.differential.calibration import expected_fdr, reliability
from course_lib.differential.classical import pseudobulk, t_test, wilcoxon
from course_lib.differential.decoded import decoded_test, two_cell_test
from course_lib.differential.posterior import differential_expression
from course_lib.differential.shrinkage import Shrunk, shrink

__all__ = ["decoded_test", "differential_expression", "pseudobulk", "t_test", "two_cell_test", "wilcoxon"]
__all__ += ["Shrunk", "expected_fdr", "reliability", "shrink"]
