"""Raw counts: the door through which AnnData comes in, and the checks that it holds counts."""

import anndata as ad
import numpy as np
from scipy import sparse

from course_lib.arguments import listed


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
    where = _where(layer)
    check_whole_counts(x.data if sparse.issparse(x) else np.asarray(x), where)
    for axis, name, names in ((1, "cell", adata.obs_names), (0, "gene", adata.var_names)):
        empty = np.flatnonzero(sum_over(x, axis) == 0)
        if len(empty):
            raise ValueError(
                f"{where} has {len(empty)} {name}(s) without a single count ({listed(names[empty])}); "
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
    cells, genes = sum_over(matrix(adata), 1) > 0, sum_over(matrix(adata), 0) > 0
    if not cells.any():
        raise ValueError("X has no count at all; nothing would be left.")
    return adata[cells, genes].copy()


def matrix(adata: ad.AnnData, layer: str | None = None):
    """Return ``X`` or a layer of `adata`, dense or sparse, or say which layers there are.

    Raises
    ------
    ValueError
        Where `adata` is no AnnData, has no cells or genes, has no such layer (or no ``X``), or what it holds there is
        not numbers.
    """
    if not isinstance(adata, ad.AnnData):
        raise ValueError(f"expected an AnnData (cells × genes), got {type(adata).__name__}; wrap it as ad.AnnData(x).")
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise ValueError(f"adata has {adata.n_obs} cells and {adata.n_vars} genes; it needs at least one of each.")
    if layer is not None and layer not in adata.layers:
        known = ", ".join(map(repr, adata.layers)) or "none"
        writers = {"normalized": "normalize", "log_normalized": "log_normalize", "centered": "center"}
        hint = f"; preprocess.{writers[layer]}(adata) writes it" if layer in writers else ""
        raise ValueError(f"adata has no layer {layer!r} (layers: {known}){hint}.")
    x = adata.X if layer is None else adata.layers[layer]
    if x is None:
        raise ValueError("adata.X is None; put the raw counts there, as in adata.X = adata.layers[…].copy().")
    if not (np.issubdtype(x.dtype, np.number) or x.dtype == bool):
        raise ValueError(f"{_where(layer)} has dtype {x.dtype}; cells × genes are numbers.")
    return x


def obs_column(adata: ad.AnnData, name: str):
    """Return the column `name` of ``obs``, or raise a ValueError that lists the columns there are."""
    if name not in adata.obs:
        known = ", ".join(map(repr, adata.obs.columns)) or "none"
        raise ValueError(f"adata.obs has no column {name!r} (columns: {known}).")
    return adata.obs[name]


def sum_over(x, axis: int) -> np.ndarray:
    """Sum a dense or sparse matrix over `axis`, in float64: (n_genes,) for axis 0, (n_cells,) for axis 1."""
    if sparse.issparse(x):  # its own sum() adds float32 values in float32, whatever dtype it is given
        x = x.T if axis == 0 else x
        return x @ np.ones(x.shape[1])
    return np.asarray(x).sum(axis=axis, dtype=np.float64)


def check_whole_counts(values: np.ndarray, where: str) -> None:
    """Raise a ValueError where `values` are not whole numbers ≥ 0; `where` is what the error calls them."""
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


def _where(layer: str | None) -> str:
    return "X" if layer is None else f"layers[{layer!r}]"
