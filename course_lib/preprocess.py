"""From raw counts to what a model sees: checks, library size, normalisation, gene selection, a held-out split."""

from numbers import Real

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from course_lib.counts import check_counts, drop_empty, matrix, obs_column, sum_over

__all__ = [
    "TARGET_SUM",
    "center",
    "check_counts",
    "drop_empty",
    "held_out_size",
    "library_size",
    "log_normalize",
    "matrix",
    "normalize",
    "obs_column",
    "select_genes",
    "split",
]

TARGET_SUM = 1e4
"""The usual scale factor: after normalising, every cell's counts sum to 10,000."""


def library_size(adata: ad.AnnData, layer: str | None = None, library_key: str | None = None) -> np.ndarray:
    """Library size ℓ_n of each cell: the sum of its counts over the genes in `adata`.

    Parameters
    ----------
    adata
        Cells with counts in ``X`` or in `layer`.
    layer
        Layer to sum; None sums ``X``.
    library_key
        Column of ``obs`` that holds library sizes, for data that keep only a panel of their genes; nothing is summed.

    Returns
    -------
    ndarray
        (n_cells,), float64, counts.

    Raises
    ------
    ValueError
        For a missing layer or column, or a column with values that are not finite and above 0.
    """
    if library_key is None:
        return sum_over(matrix(adata, layer), axis=1)
    library = pd.to_numeric(obs_column(adata, library_key), errors="coerce").to_numpy(np.float64)
    if not np.all(np.isfinite(library) & (library > 0)):
        raise ValueError(f"adata.obs[{library_key!r}] has values that are not finite numbers above 0.")
    return library


def normalize(adata: ad.AnnData, target_sum: float = TARGET_SUM, library_key: str | None = None):
    """Divide each cell's counts by its library size and multiply by `target_sum`.

    Parameters
    ----------
    adata
        Cells with raw counts in ``X``; gains ``layers["normalized"]``; ``X`` stays as it is.
    target_sum
        What a cell's values sum to afterwards; 1 gives proportions.
    library_key
        Column of ``obs`` that holds the library size, for data that keep only a panel of their genes. None sums ``X``.

    Returns
    -------
    array or sparse matrix
        The layer written: (n_cells, n_genes), float32, sparse where ``X`` is sparse.

    Raises
    ------
    ValueError
        Where ``X`` does not hold raw counts (see :func:`check_counts`), `target_sum` is not positive, or the column is
        missing or holds values that are not positive.
    """
    adata.layers["normalized"] = _scaled(adata, target_sum, library_key)
    return adata.layers["normalized"]


def log_normalize(adata: ad.AnnData, target_sum: float = TARGET_SUM, library_key: str | None = None):
    """Take log(1 + normalised counts), the natural logarithm.

    Parameters, errors
        As in :func:`normalize`; `adata` gains ``layers["log_normalized"]``.

    Returns
    -------
    array or sparse matrix
        The layer written: (n_cells, n_genes), float32, sparse where ``X`` is sparse.
    """
    adata.layers["log_normalized"] = np.log1p(_scaled(adata, target_sum, library_key))
    return adata.layers["log_normalized"]


def center(adata: ad.AnnData, reference: ad.AnnData | None = None, layer: str = "log_normalized") -> np.ndarray:
    """Subtract from each gene its mean over the reference cells.

    Parameters
    ----------
    adata
        Cells with `layer` filled; gains ``layers["centered"]``, dense.
    reference
        Cells whose means are subtracted: the training cells, where `adata` is held out. None takes `adata` itself.
    layer
        Layer to centre, in both.

    Returns
    -------
    ndarray
        The layer written: (n_cells, n_genes), float32.

    Raises
    ------
    ValueError
        For a missing layer, or other genes in `reference` than in `adata`.
    """
    reference = adata if reference is None else reference
    if not adata.var_names.equals(reference.var_names):
        raise ValueError("reference and adata must have the same genes in the same order.")
    mean = sum_over(matrix(reference, layer), 0) / reference.n_obs
    x = matrix(adata, layer)
    dense = x.toarray() if sparse.issparse(x) else np.asarray(x)
    adata.layers["centered"] = (dense - mean).astype(np.float32)
    return adata.layers["centered"]


def select_genes(adata: ad.AnnData, n_top: int, layer: str = "log_normalized") -> ad.AnnData:
    """Keep the `n_top` genes whose values vary most over cells, in their original order.

    Parameters
    ----------
    adata
        Cells with `layer` filled, for instance by :func:`log_normalize`.
    n_top
        Number of genes to keep, from 1 to n_genes.
    layer
        Layer whose variance decides.

    Returns
    -------
    AnnData
        A copy with `n_top` genes.

    Raises
    ------
    ValueError
        For a missing layer or an `n_top` out of range.
    """
    if not (1 <= n_top <= adata.n_vars and n_top % 1 == 0):
        raise ValueError(f"n_top is {n_top}; with {adata.n_vars} genes choose a whole number from 1 to {adata.n_vars}.")
    x = matrix(adata, layer)
    square = x.multiply(x) if sparse.issparse(x) else np.asarray(x) ** 2
    variance = sum_over(square, 0) / adata.n_obs - (sum_over(x, 0) / adata.n_obs) ** 2
    top = np.sort(np.argsort(-variance, kind="stable")[: int(n_top)])
    return adata[:, top].copy()


def split(adata: ad.AnnData, test: float = 0.1, seed: int = 0) -> tuple[ad.AnnData, ad.AnnData]:
    """Split cells at random into a training set and a held-out set.

    Parameters
    ----------
    adata
        Cells to split.
    test
        Fraction of cells held out, above 0 and below 1.
    seed
        Seed of the split.

    Returns
    -------
    (AnnData, AnnData)
        Copies: training cells, held-out cells.

    Raises
    ------
    ValueError
        For a fraction that leaves one side empty.
    """
    if not 0 < test < 1:
        raise ValueError(f"test is {test}; it is the fraction of cells held out, above 0 and below 1.")
    if adata.n_obs < 2:
        raise ValueError(f"adata has {adata.n_obs} cell(s); a split needs at least 2.")
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    n_test = held_out_size(test, adata.n_obs)
    return adata[np.sort(order[n_test:])].copy(), adata[np.sort(order[:n_test])].copy()


def held_out_size(fraction: float, n_cells: int) -> int:
    """Number of cells that a held-out `fraction` of `n_cells` (2 or more) means: at least one on each side."""
    return min(max(round(fraction * n_cells), 1), n_cells - 1)


def _scaled(adata: ad.AnnData, target_sum: float, library_key: str | None):
    check_counts(adata)
    if not (isinstance(target_sum, Real) and np.isfinite(target_sum) and target_sum > 0):
        raise ValueError(f"target_sum is {target_sum!r}; it must be a finite number above 0 (10,000 is usual).")
    factor = (target_sum / library_size(adata, library_key=library_key))[:, None]
    x = adata.X
    scaled = x.multiply(factor).tocsr() if sparse.issparse(x) else np.asarray(x) * factor
    return scaled.astype(np.float32)
