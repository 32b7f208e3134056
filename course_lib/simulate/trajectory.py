"""Cells on a path: one number per cell, and genes that switch on and off along it."""

import anndata as ad
import numpy as np

from course_lib.arguments import require_not_negative, require_positive, whole
from course_lib.draws import as_anndata, negative_binomial


def trajectory(
    n_cells: int,
    n_genes: int,
    *,
    mean_count: float = 5.0,
    fold: float = 4.0,
    width: float = 0.15,
    theta: float = 5.0,
    library_sd: float = 0.3,
    seed: int = 0,
) -> ad.AnnData:
    """Simulate cells along one path of differentiation, on which every gene has its own time.

    A cell's place on the path is t, uniform on [0, 1]. A gene with peak p is expressed in proportion to
    1 + (`fold` − 1) exp(−(t − p)² / (2 `width`²)), and the peaks are spread evenly over the path. Counts are negative
    binomial, as in :func:`three_clusters`. One number sets everything, and the path that it traces through
    gene-expression space is a curve.

    Parameters
    ----------
    n_cells, n_genes
        Size of the data.
    mean_count, theta, library_sd, seed
        As in :func:`three_clusters`.
    fold
        Expression of a gene at its peak relative to far from it.
    width
        Standard deviation of a gene's peak, in units of the path.

    Returns
    -------
    AnnData
        ``X`` counts, CSR float32 (n_cells, n_genes). ``obs``: ``time`` (t) and ``library`` (ℓ before sampling).
        ``var``: ``peak`` and ``true_theta``. ``layers["true_rate"]``: ρ, float32, (n_cells, n_genes).

    Raises
    ------
    ValueError
        For sizes below 1, parameters outside their range, or settings under which a cell or a gene has no count.
    """
    n_cells, n_genes = whole("n_cells", n_cells, 1), whole("n_genes", n_genes, 1)
    for name, value in {"mean_count": mean_count, "fold": fold, "width": width, "theta": theta}.items():
        require_positive(name, value)
    require_not_negative("library_sd", library_sd)
    rng = np.random.default_rng(seed)
    time, peak = rng.uniform(size=n_cells), np.linspace(0, 1, n_genes)
    rate = 1 + (fold - 1) * np.exp(-((time[:, None] - peak) ** 2) / (2 * width**2))
    rate /= rate.sum(axis=1, keepdims=True)
    library = mean_count * n_genes * rng.lognormal(0, library_sd, n_cells)
    counts = negative_binomial(library[:, None] * rate, theta, rng)
    obs = {"time": time, "library": library}
    return as_anndata(counts, obs=obs, var={"peak": peak, "true_theta": np.full(n_genes, float(theta))}, rate=rate)
