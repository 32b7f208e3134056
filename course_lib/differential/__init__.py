"""Differential expression: which genes differ between two groups of cells, by how much, and how sure one may be."""

from course_lib.differential.classical import pseudobulk, t_test, wilcoxon

__all__ = ["pseudobulk", "t_test", "wilcoxon"]
