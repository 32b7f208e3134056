"""Which cells are compared, and how a table of genes is laid out."""

import anndata as ad
import numpy as np
import pandas as pd
from scipy import stats

from course_lib.arguments import require_positive
from course_lib.counts import matrix, obs_column, sum_over


def two_groups(adata: ad.AnnData, groupby: str, group, reference=None, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the row numbers of the cells of `group` and of those they are compared with.

    Parameters
    ----------
    adata
        Cells.
    groupby
        Column of ``obs`` with the labels. Cells without a label take no part.
    group
        Label of the one side.
    reference
        Label of the other; None takes all other cells that have a label.
    least
        Cells that each side needs.

    Returns
    -------
    (ndarray, ndarray)
        Row numbers, rising.

    Raises
    ------
    ValueError
        For a missing column or label, the same label twice, or a side with fewer than `least` cells.
    """
    labels = obs_column(adata, groupby)
    if reference is not None and reference == group:
        raise ValueError(f"group and reference are both {group!r}; name two groups, or leave reference=None.")
    known = labels.dropna().unique()
    for name, label in (("group", group), ("reference", reference)):
        if label not in known and not (name == "reference" and label is None):
            shown = ", ".join(map(repr, sorted(known, key=str)[:20]))
            raise ValueError(f"{name} is {label!r}; adata.obs[{groupby!r}] has {shown or 'no label'}.")
    ours = (labels == group).to_numpy()
    theirs = (labels.notna().to_numpy() & ~ours) if reference is None else (labels == reference).to_numpy()
    for name, cells in (("group", ours), ("reference", theirs)):
        if cells.sum() < least:
            raise ValueError(f"{name} has {cells.sum()} cell(s); this comparison needs at least {least} on each side.")
    return np.flatnonzero(ours), np.flatnonzero(theirs)


def log_fold_change(adata: ad.AnnData, ours: np.ndarray, theirs: np.ndarray, pseudocount: float) -> np.ndarray:
    """Return log2 of the ratio of mean proportions, (n_genes,), from the raw counts in ``X``.

    A cell's proportions are its counts divided by their sum; `pseudocount`, a proportion too, is added to both means.

    Raises
    ------
    ValueError
        For a `pseudocount` that is no finite number above 0.
    """
    require_positive("pseudocount", pseudocount)
    x = matrix(adata)
    share = 1 / sum_over(x, 1)
    means = [x[cells].T @ share[cells] / len(cells) for cells in (ours, theirs)]
    return np.log2(means[0] + pseudocount) - np.log2(means[1] + pseudocount)


def table(adata: ad.AnnData, p_value: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
    """Return a row per gene, the smallest p-value first, with the Benjamini–Hochberg adjusted p-value as ``fdr``.

    A gene without a p-value (it is constant in all cells compared) gets 1: there is nothing to tell the sides apart by.

    References
    ----------
    Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    p_value = np.where(np.isnan(p_value), 1.0, p_value)
    genes = pd.DataFrame(columns, index=adata.var_names)
    genes["p_value"], genes["fdr"] = p_value, stats.false_discovery_control(p_value, method="bh")
    return genes.sort_values("p_value", kind="stable")
