"""The same cells, measured a second time."""

import anndata as ad
import numpy as np
from scipy import sparse

from course_lib.draws import negative_binomial


def measure_again(adata: ad.AnnData, seed: int = 1) -> ad.AnnData:
    """Draw new counts for the same simulated cells: same proportions, same libraries, fresh noise.

    A reconstruction that holds for a second measurement has found the cell; one that holds for the first alone has
    copied its noise.

    Parameters
    ----------
    adata
        Cells from :func:`three_clusters` or :func:`splatter`, or some of them, with their truth.
    seed
        Seed of the new noise.

    Returns
    -------
    AnnData
        ``X``: new counts, CSR float32. ``obs`` and ``var`` as in `adata`. Cells without a count are possible.

    Raises
    ------
    ValueError
        Where the truth is missing, or does not fix the noise (``dispersion="cell"``, dropout).
    """
    missing = [name for name in ("library", "true_theta") if name not in adata.obs and name not in adata.var]
    if missing or "true_rate" not in adata.layers:
        raise ValueError("adata lacks the truth of a simulation (true_rate, library, true_theta).")
    theta = adata.var["true_theta"].to_numpy()
    if np.isnan(theta).any() or "dropped" in adata.layers:
        raise ValueError('data simulated with dispersion="cell" or dropout cannot be measured again.')
    rng = np.random.default_rng(seed)
    mean = adata.obs["library"].to_numpy()[:, None] * adata.layers["true_rate"]
    counts = negative_binomial(mean, theta, rng)
    counts[rng.random(counts.shape) < adata.uns.get("zero_inflation", 0.0)] = 0
    return ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=adata.obs.copy(), var=adata.var.copy())
