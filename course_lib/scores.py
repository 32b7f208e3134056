"""How good a code is: a copy against its original, clusters against labels. Arrays in, numbers out."""

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, r2_score, silhouette_score
from sklearn.neighbors import NearestNeighbors


def variance_explained(x: np.ndarray, x_hat: np.ndarray) -> float:
    """Share of the variance of `x` around its gene means that the reconstruction `x_hat` accounts for (R²).

    Parameters
    ----------
    x, x_hat
        Values and their reconstruction, both (n_cells, n_genes), dense or sparse, on the same scale.

    Returns
    -------
    float
        1 − Σ (x − x̂)² / Σ (x − x̄_g)²: 1 for a perfect copy, 0 for the gene means, negative for worse than those.

    Raises
    ------
    ValueError
        For two different shapes, or values that are not finite.
    """
    x, x_hat = (v.toarray() if sparse.issparse(v) else np.asarray(v) for v in (x, x_hat))
    if x.shape != x_hat.shape or x.ndim != 2:
        raise ValueError(f"x has shape {x.shape} and x_hat {x_hat.shape}; both are (n_cells, n_genes).")
    return float(r2_score(x, x_hat, multioutput="variance_weighted"))


def clustering_scores(z: np.ndarray, labels, *, n_neighbors: int = 15, seed: int = 0) -> dict[str, float]:
    """Compare an embedding with labels that were not used to make it.

    Parameters
    ----------
    z
        Embedding, (n_cells, n_latent).
    labels
        One label per cell, of at least two kinds.
    n_neighbors
        Neighbours per cell for the purity.
    seed
        Seed of k-means and, above 5,000 cells, of the sample for the silhouette.

    Returns
    -------
    dict
        ``ari``: adjusted Rand index of k-means (as many clusters as there are labels, 10 starts) and the labels: 1 for
        the same partition, about 0 for unrelated ones. ``nmi``: their normalised mutual information, 0 to 1.
        ``purity``: mean share of a cell's nearest neighbours that carry its label. ``silhouette``: mean silhouette of
        the labels in `z`, −1 to 1.

    Raises
    ------
    ValueError
        For NaN in `z`, a different number of labels, missing labels, fewer than two kinds of them, or an `n_neighbors`
        that is not below the number of cells.
    """
    z, labels = np.asarray(z, dtype=np.float64), np.asarray(labels)
    if z.ndim != 2 or len(z) != len(labels):
        raise ValueError(f"z has shape {z.shape} and there are {len(labels)} labels; give one label to each row.")
    if not np.isfinite(z).all():
        raise ValueError(f"z has {np.sum(~np.isfinite(z))} NaN or infinite values.")
    if pd.isna(labels).any():
        raise ValueError(f"labels has {pd.isna(labels).sum()} missing values; leave those cells out of z and labels.")
    kinds = np.unique(labels)
    if not 2 <= len(kinds) < len(labels):
        raise ValueError(
            f"there are {len(kinds)} kinds of label for {len(labels)} cells; give 2 or more, and fewer than cells."
        )
    if not 1 <= n_neighbors < len(z):
        raise ValueError(f"n_neighbors is {n_neighbors}; with {len(z)} cells choose from 1 to {len(z) - 1}.")
    found = KMeans(len(kinds), n_init=10, random_state=seed).fit_predict(z)
    neighbours = NearestNeighbors(n_neighbors=n_neighbors).fit(z).kneighbors(return_distance=False)
    return {
        "ari": float(adjusted_rand_score(labels, found)),
        "nmi": float(normalized_mutual_info_score(labels, found)),
        "purity": float(np.mean(labels[neighbours] == labels[:, None])),
        "silhouette": float(silhouette_score(z, labels, sample_size=min(len(z), 5000), random_state=seed)),
    }
