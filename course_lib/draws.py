"""Parts of the simulators: draw counts and labels, pack them with their truth."""

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse


def negative_binomial(mean: np.ndarray, theta, rng: np.random.Generator) -> np.ndarray:
    """Draw counts as a Poisson whose mean is Gamma with shape θ and mean `mean`."""
    return rng.poisson(rng.gamma(theta, mean / theta))


def change_factors(n_genes: int, n_sets: int, probability: float, log_normal, rng) -> np.ndarray:
    """Draw multiplicative changes (n_genes, n_sets): 1 for a gene that is not changed, above or below 1 otherwise."""
    factor = rng.lognormal(*log_normal, (n_genes, n_sets))
    factor = np.maximum(factor, 1 / factor)
    factor = np.where(rng.random(factor.shape) < 0.5, factor, 1 / factor)
    return np.where(rng.random(factor.shape) < probability, factor, 1.0)


def as_anndata(counts: np.ndarray, obs: dict, var: dict, rate: np.ndarray, allow_empty: bool = False) -> ad.AnnData:
    """Pack counts and true rates, both (n_cells, n_genes); raise a ValueError for an empty cell or gene."""
    if not allow_empty:
        empty_cells, empty_genes = (counts.sum(axis=1) == 0).sum(), (counts.sum(axis=0) == 0).sum()
        if empty_cells or empty_genes:
            raise ValueError(
                f"these settings give {empty_cells} cells and {empty_genes} genes without a single count; "
                "raise mean_count, n_genes or the number of cells, or lower zero_inflation."
            )
    return ad.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(obs, index=[f"cell_{i}" for i in range(counts.shape[0])]),
        var=pd.DataFrame(var, index=[f"gene_{i}" for i in range(counts.shape[1])]),
        layers={"true_rate": rate.astype(np.float32)},
    )


def draw_labels(name: str, probabilities: Sequence[float], n_cells: int, rng) -> np.ndarray:
    """Draw a code for each cell, (n_cells,); raise a ValueError for probabilities that do not sum to 1."""
    p = np.asarray(probabilities, dtype=float)
    if p.ndim != 1 or len(p) == 0 or not np.all(p >= 0) or not np.isclose(p.sum(), 1):
        raise ValueError(f"{name} is {probabilities!r}; give one probability ≥ 0 for each, summing to 1.")
    return rng.choice(len(p), size=n_cells, p=p / p.sum())


def as_categorical(name: str, codes: np.ndarray, n: int) -> pd.Categorical:
    """Name codes 0 to n − 1 by `name` and number."""
    return pd.Categorical.from_codes(codes, categories=[f"{name}_{i}" for i in range(n)])
