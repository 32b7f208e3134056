"""Three clusters, each with its own third of the genes: the lecture's example."""

import anndata as ad
import numpy as np
import pandas as pd

from course_lib.arguments import require_not_negative, require_positive, whole
from course_lib.draws import as_anndata, negative_binomial


def three_clusters(
    n_cells_per_cluster: int = 2000,
    n_genes: int = 1000,
    *,
    mean_count: float = 5.0,
    fold: float = 4.0,
    theta: float = 5.0,
    library_sd: float = 0.3,
    zero_inflation: float = 0.0,
    seed: int = 0,
) -> ad.AnnData:
    """Simulate three clusters of cells, each over-expressing its own third of the genes.

    Counts are negative binomial with mean μ = ℓ ρ and variance μ + μ² / θ. Inside its third a cluster's expression is
    `fold` times that of the other genes; ρ, the proportions, sum to 1 over the genes, and ℓ, the library size, differs
    from cell to cell.

    Parameters
    ----------
    n_cells_per_cluster, n_genes
        Size of the data: 3 · `n_cells_per_cluster` cells, and at least 3 genes.
    mean_count
        Mean count of a gene in a cell (before zero inflation): the median library size is ``mean_count * n_genes``.
    fold
        Ratio of expression inside a cluster's third to outside it; 1 makes all cells alike.
    theta
        Inverse dispersion θ of every gene; a large value approaches a Poisson distribution.
    library_sd
        Standard deviation of log ℓ over cells (natural log); 0 gives every cell the same depth.
    zero_inflation
        π, the probability that a count is replaced by an extra zero.
    seed
        Seed of the generator; the same seed gives the same data.

    Returns
    -------
    AnnData
        ``X`` counts, CSR float32 (n_cells, n_genes). ``obs``: ``cluster`` and ``library`` (ℓ before sampling).
        ``var``: ``over_in`` (the cluster that over-expresses the gene) and ``true_theta``.
        ``layers["true_rate"]``: ρ, float32, dense (n_cells, n_genes). ``uns["zero_inflation"]``: π.

    Raises
    ------
    ValueError
        For sizes below the least, negative or non-finite parameters, `zero_inflation` outside [0, 1), or settings so
        sparse that a cell or a gene has no count at all.
    """
    n_cells_per_cluster = whole("n_cells_per_cluster", n_cells_per_cluster, 1)
    n_genes = whole("n_genes", n_genes, 3)
    for name, value in (("mean_count", mean_count), ("fold", fold), ("theta", theta)):
        require_positive(name, value)
    require_not_negative("library_sd", library_sd)
    if not 0 <= zero_inflation < 1:
        raise ValueError(f"zero_inflation is {zero_inflation}; it is a probability π with 0 ≤ π < 1.")
    rng = np.random.default_rng(seed)

    names = np.array(["A", "B", "C"])
    cluster = np.repeat(np.arange(3), n_cells_per_cluster)
    over_in = np.arange(n_genes) * 3 // n_genes
    expression = np.where(np.arange(3)[:, None] == over_in, fold, 1.0)
    proportions = expression / expression.sum(axis=1, keepdims=True)

    library = mean_count * n_genes * rng.lognormal(0.0, library_sd, len(cluster))
    rate = proportions[cluster]
    counts = negative_binomial(library[:, None] * rate, theta, rng)
    if zero_inflation > 0:
        counts[rng.random(counts.shape) < zero_inflation] = 0
    data = as_anndata(
        counts,
        obs={"cluster": pd.Categorical(names[cluster], categories=names), "library": library},
        var={"over_in": pd.Categorical(names[over_in], categories=names), "true_theta": np.full(n_genes, theta)},
        rate=rate,
    )
    data.uns["zero_inflation"] = zero_inflation
    return data
