"""From raw counts to what a model sees: checks, library size, normalisation, gene selection, a held-out split."""

import anndata as ad
import numpy as np
from scipy import sparse

TARGET_SUM = 1e4
"""The usual scale factor: after normalising, every cell's counts sum to 10,000."""


def check_counts(adata: ad.AnnData, layer: str | None = None) -> ad.AnnData:
    """Check that `adata` holds raw counts with which a model can be trained.

    Parameters
    ----------
    adata
        Cells in rows, genes in columns; dense or sparse.
    layer
        Layer to check; None checks ``X``.

    Returns
    -------
    AnnData
        The same object, unchanged.

    Raises
    ------
    ValueError
        Naming what is wrong (no cells or genes; NaN or infinite; negative; not whole, and whether it looks like
        log-normalised data; cells without counts; genes without counts) and what to do about it.
    """
    x = matrix(adata, layer)
    where = "X" if layer is None else f"layers[{layer!r}]"
    _check_whole_counts(_stored_values(x), where)
    for axis, name, names in ((1, "cell", adata.obs_names), (0, "gene", adata.var_names)):
        empty = np.flatnonzero(_sum(x, axis) == 0)
        if len(empty):
            shown = ", ".join(map(str, names[empty[:3]])) + (", …" if len(empty) > 3 else "")
            raise ValueError(
                f"{where} has {len(empty)} {name}(s) without a single count ({shown}); "
                "remove them with adata = preprocess.drop_empty(adata)."
            )
    return adata


def drop_empty(adata: ad.AnnData) -> ad.AnnData:
    """Remove the cells and the genes that have no count in ``X``.

    Parameters
    ----------
    adata
        Cells with raw counts in ``X``.

    Returns
    -------
    AnnData
        A copy without them.

    Raises
    ------
    ValueError
        Where nothing would be left.
    """
    cells, genes = _sum(matrix(adata), 1) > 0, _sum(matrix(adata), 0) > 0
    if not cells.any():
        raise ValueError("X has no count at all; nothing would be left.")
    return adata[cells, genes].copy()


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
        return _sum(matrix(adata, layer), axis=1)
    library = np.asarray(obs_column(adata, library_key), dtype=np.float64)
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
    if not 1 <= n_top <= adata.n_vars:
        raise ValueError(f"n_top is {n_top}; with {adata.n_vars} genes choose from 1 to {adata.n_vars}.")
    x = matrix(adata, layer)
    square = x.multiply(x) if sparse.issparse(x) else np.asarray(x) ** 2
    variance = _sum(square, 0) / adata.n_obs - (_sum(x, 0) / adata.n_obs) ** 2
    top = np.sort(np.argsort(-variance, kind="stable")[:n_top])
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
    n_test = min(max(round(test * adata.n_obs), 1), adata.n_obs - 1)
    return adata[np.sort(order[n_test:])].copy(), adata[np.sort(order[:n_test])].copy()


def matrix(adata: ad.AnnData, layer: str | None = None):
    """Return ``X`` or a layer of `adata`, dense or sparse, or say which layers there are.

    Raises
    ------
    ValueError
        Where `adata` is no AnnData, has no cells or genes, or has no such layer.
    """
    if not isinstance(adata, ad.AnnData):
        raise ValueError(f"expected an AnnData (cells × genes), got {type(adata).__name__}; wrap it as ad.AnnData(x).")
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise ValueError(f"adata has {adata.n_obs} cells and {adata.n_vars} genes; it needs at least one of each.")
    if layer is None:
        return adata.X
    if layer not in adata.layers:
        known = ", ".join(map(repr, adata.layers)) or "none"
        hint = ""
        if layer in ("normalized", "log_normalized"):
            hint = f"; preprocess.{layer.replace('ized', 'ize')}(adata) writes it"
        raise ValueError(f"adata has no layer {layer!r} (layers: {known}){hint}.")
    return adata.layers[layer]


def obs_column(adata: ad.AnnData, name: str):
    """Return the column `name` of ``obs``, or raise a ValueError that lists the columns there are."""
    if name not in adata.obs:
        known = ", ".join(map(repr, adata.obs.columns)) or "none"
        raise ValueError(f"adata.obs has no column {name!r} (columns: {known}).")
    return adata.obs[name]


def _scaled(adata: ad.AnnData, target_sum: float, library_key: str | None):
    check_counts(adata)
    if not (np.isfinite(target_sum) and target_sum > 0):
        raise ValueError(f"target_sum is {target_sum}; it must be a finite number above 0 (10,000 is usual).")
    factor = (target_sum / library_size(adata, library_key=library_key))[:, None]
    x = adata.X
    scaled = x.multiply(factor).tocsr() if sparse.issparse(x) else np.asarray(x) * factor
    return scaled.astype(np.float32)


def _stored_values(x) -> np.ndarray:
    return x.data if sparse.issparse(x) else np.asarray(x)


def _sum(x, axis: int) -> np.ndarray:
    return np.asarray(x.sum(axis=axis, dtype=np.float64)).ravel()


def _check_whole_counts(values: np.ndarray, where: str) -> None:
    if not np.issubdtype(values.dtype, np.number):
        raise ValueError(f"{where} has dtype {values.dtype}; counts are numbers.")
    if not np.isfinite(values).all():
        raise ValueError(
            f"{where} has {np.sum(~np.isfinite(values))} NaN or infinite values; counts are whole and ≥ 0."
        )
    if values.size and values.min() < 0:
        raise ValueError(
            f"{where} has negative values (the least is {values.min():.3g}); counts are ≥ 0. Scaled (z-scored) data? "
            "Look for the raw counts in adata.raw or in adata.layers."
        )
    fractional = values[values != np.round(values)]
    if len(fractional):
        looks = "It looks log-normalised" if values.max() < 30 else "It looks normalised"
        raise ValueError(
            f"{where} has values that are not whole numbers (such as {fractional[0]:.4g}). {looks}: look for the raw "
            "counts in adata.raw or in adata.layers."
        )
