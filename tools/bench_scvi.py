"""Measure SimpleScVI beside scvi-tools and the lecture's loop. Run as ``make bench``, or one part alone: see `main`.

Runs in an environment that has scvi-tools 1.4.2 (``make bench`` makes it). Nothing here is asserted.
"""

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse, stats

from course_lib.draws import change_factors, negative_binomial

GROUPS = (0.30, 0.25, 0.20, 0.12, 0.08, 0.05)


def bench_set(seed: int, n_cells: int = 5000, n_genes: int = 2000, n_batches: int = 1) -> ad.AnnData:
    """Simulate the bench set: six groups, negative binomial counts, and their log-probability under the truth.

    A batch multiplies every gene by a factor LogNormal(0, 0.3) of its own.
    """
    rng = np.random.default_rng(seed)
    group = rng.choice(len(GROUPS), n_cells, p=GROUPS)
    mean = rng.gamma(0.6, 1 / 0.3, n_genes) + 1e-3
    factor = change_factors(n_genes, len(GROUPS), 0.1, (0.1, 0.4), rng)
    library = rng.lognormal(8.0, 0.35, n_cells)
    batch = rng.integers(0, n_batches, n_cells)
    batch_factor = rng.lognormal(0, 0.3 if n_batches > 1 else 0, (n_batches, n_genes))
    rate = mean * factor[:, group].T * batch_factor[batch]
    mu = library[:, None] * rate / rate.sum(axis=1, keepdims=True)
    bcv = (0.3 + 0.2 / np.sqrt(mu.mean(axis=0))) * np.sqrt(60 / rng.chisquare(60, n_genes))
    theta = 1 / bcv**2
    counts = negative_binomial(mu, theta, rng)
    truth = stats.nbinom.logpmf(counts, theta, theta / (theta + mu)).sum(axis=1)
    obs = pd.DataFrame({"group": group, "batch": batch.astype(str), "truth": truth})
    obs.index = obs.index.map("cell_{}".format)
    adata = ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs)
    adata.var["true_theta"] = theta
    return adata
