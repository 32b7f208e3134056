"""Tests that need no model: Welch's t, Wilcoxon's rank sum, and a t-test between donors (pseudobulk)."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse, stats
from sklearn.utils.sparsefuncs import mean_variance_axis

from course_lib.arguments import require_positive
from course_lib.counts import check_counts, matrix, obs_column, sum_over
from course_lib.differential.groups import log_fold_change, table, two_groups

PSEUDOCOUNT = 5e-5
"""A proportion: half a count in a cell of 10,000."""

CHUNK = 500
"""Genes that are made dense at a time."""


def t_test(
    adata: ad.AnnData,
    groupby: str,
    group,
    reference=None,
    *,
    layer: str = "log_normalized",
    pseudocount: float = PSEUDOCOUNT,
) -> pd.DataFrame:
    """Compare each gene's mean in two groups of cells by Welch's t-test.

    Parameters
    ----------
    adata
        Cells with raw counts in ``X`` and `layer` filled.
    groupby, group, reference
        Column of ``obs``, the group, and the group it is compared with; None compares with all other labelled cells.
    layer
        Values to test, such as those of :func:`course_lib.preprocess.log_normalize`.
    pseudocount
        Proportion added to both means in the fold change; the test does not use it.

    Returns
    -------
    DataFrame
        A row per gene, the smallest p-value first: ``lfc`` (log2 ratio of mean proportions), ``score`` (t, positive
        where the group is higher), ``p_value`` (two-sided) and ``fdr`` (Benjamini–Hochberg).

    Raises
    ------
    ValueError
        For missing columns, labels or layers, counts that are none, or fewer than 2 cells on a side.

    Notes
    -----
    Its null hypothesis is that the two populations *of cells* have the same mean. Cells of one donor are no independent
    sample of what another donor would show; see :func:`pseudobulk`.
    """
    ours, theirs = _sides(adata, groupby, group, reference, least=2)
    x = matrix(adata, layer)
    sides = []
    for cells in (ours, theirs):
        part = x[cells].astype(np.float64)
        mean, variance = mean_variance_axis(part, 0) if sparse.issparse(part) else (part.mean(0), part.var(0))
        sides += [mean, np.sqrt(variance * len(cells) / (len(cells) - 1)), len(cells)]
    with np.errstate(divide="ignore", invalid="ignore"):  # genes that are constant: table() says what becomes of them
        score, p_value = stats.ttest_ind_from_stats(*sides, equal_var=False)
    return table(adata, p_value, lfc=log_fold_change(adata, ours, theirs, pseudocount), score=np.nan_to_num(score))


def wilcoxon(
    adata: ad.AnnData,
    groupby: str,
    group,
    reference=None,
    *,
    layer: str = "log_normalized",
    pseudocount: float = PSEUDOCOUNT,
) -> pd.DataFrame:
    """Compare the ranks of each gene's values in two groups of cells: Wilcoxon's rank sum (Mann & Whitney's U).

    Parameters, errors
        As in :func:`t_test`, with 1 cell on a side at least.

    Returns
    -------
    DataFrame
        As :func:`t_test` gives it; ``score`` is the probability that a cell of the group has the higher value, ties
        counted half (the area under the ROC curve): ½ where the groups do not differ. The p-value is that of the
        normal approximation, corrected for ties and not for continuity.
    """
    ours, theirs = _sides(adata, groupby, group, reference, least=1)
    x = matrix(adata, layer)
    u, p_value = np.empty(adata.n_vars), np.empty(adata.n_vars)
    for start in range(0, adata.n_vars, CHUNK):
        part = x[:, start : start + CHUNK]
        part = part.toarray() if sparse.issparse(part) else np.asarray(part)
        part = part.astype(np.float64)  # scipy computes in the type it is given, and p-values fall below 1e-45
        with np.errstate(divide="ignore", invalid="ignore"):
            test = stats.mannwhitneyu(part[ours], part[theirs], axis=0, use_continuity=False, method="asymptotic")
        u[start : start + CHUNK], p_value[start : start + CHUNK] = test
    score = u / (len(ours) * len(theirs))
    return table(adata, p_value, lfc=log_fold_change(adata, ours, theirs, pseudocount), score=score)


def pseudobulk(
    adata: ad.AnnData,
    groupby: str,
    group,
    reference=None,
    *,
    donor: str,
    pseudocount: float = PSEUDOCOUNT,
) -> pd.DataFrame:
    """Add up the counts of each donor in each group, then compare donors by a t-test of log proportions.

    The donors are what was sampled, so they are what is counted. Where every donor has cells in both groups the test is
    paired, else it is Welch's.

    Parameters
    ----------
    adata, groupby, group, reference
        As in :func:`t_test`.
    donor
        Column of ``obs`` that says from whom a cell came.
    pseudocount
        Proportion added to each donor's proportions before the logarithm.

    Returns
    -------
    DataFrame
        As :func:`t_test` gives it; ``lfc`` is the difference of the mean log2 proportions of donors.

    Raises
    ------
    ValueError
        As in :func:`t_test`, for cells compared that name no donor, or fewer than 2 donors on a side: with one donor
        there is nothing to say how donors vary.

    References
    ----------
    Squair et al. 2021, doi:10.1038/s41467-021-25960-2; Crowell et al. 2020, doi:10.1038/s41467-020-19894-4.
    """
    require_positive("pseudocount", pseudocount)
    ours, theirs = _sides(adata, groupby, group, reference, least=1)
    donors = obs_column(adata, donor)
    if (missing := donors.iloc[np.r_[ours, theirs]].isna().sum()) > 0:
        raise ValueError(f"{missing} of the cells compared have no {donor!r}; remove them or name their donor.")
    sides = [_donors(adata, cells, donors, pseudocount) for cells in (ours, theirs)]
    for name, side in zip(("group", "reference"), sides, strict=True):
        if len(side) < 2:
            raise ValueError(f"{name} has cells of {len(side)} donor; how donors vary takes at least 2 on each side.")
    a, b = sides
    lfc = a.to_numpy().mean(axis=0) - b.to_numpy().mean(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # genes without counts: table() says what becomes of them
        if set(a.index) == set(b.index):
            score, p_value = stats.ttest_rel(a, b.loc[a.index])
        else:
            score, p_value = stats.ttest_ind(a, b, equal_var=False)
    return table(adata, np.asarray(p_value), lfc=lfc, score=np.nan_to_num(np.asarray(score)))


def _sides(adata: ad.AnnData, groupby: str, group, reference, least: int) -> tuple[np.ndarray, np.ndarray]:
    check_counts(adata)
    return two_groups(adata, groupby, group, reference, least)


def _donors(adata: ad.AnnData, cells: np.ndarray, donors: pd.Series, pseudocount: float) -> pd.DataFrame:
    """Log2 proportions of each donor's summed counts: a row per donor."""
    x, rows = matrix(adata)[cells], {}
    names = donors.iloc[cells].to_numpy()
    for name in pd.unique(names):
        total = sum_over(x[names == name], 0)
        rows[name] = np.log2(total / total.sum() + pseudocount)
    return pd.DataFrame.from_dict(rows, orient="index", columns=adata.var_names)
