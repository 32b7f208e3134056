"""The Splat model of Zappia, Phipson & Oshlack: groups, batches, dropout."""

from collections.abc import Sequence

import anndata as ad
import numpy as np
from scipy import sparse
from scipy.special import expit

from course_lib.arguments import require_pair, whole
from course_lib.draws import as_anndata, as_categorical, change_factors, draw_labels, negative_binomial


def splatter(
    n_cells: int,
    n_genes: int,
    *,
    group_probs: Sequence[float] = (0.5, 0.3, 0.2),
    batch_probs: Sequence[float] | None = None,
    de_prob: float = 0.1,
    library: tuple[float, float] = (8.0, 0.35),
    bcv: tuple[float, float] = (0.1, 1.0),
    dispersion: str = "gene",
    dropout: tuple[float, float] | None = None,
    seed: int = 0,
) -> ad.AnnData:
    """Simulate cells in groups (and batches) by the Splatter model.

    Gene means are Gamma(0.6, rate 0.3), five in a hundred of them outliers at the median mean times LogNormal(4, 0.5).
    In each group a gene changes with probability `de_prob` by a factor LogNormal(0.1, 0.4), taken ≥ 1 and inverted
    half the time. Each cell's means are rescaled to its library size, and counts are Poisson draws from a Gamma.

    Parameters
    ----------
    n_cells, n_genes
        Size of the data.
    group_probs
        Probability of each group; they sum to 1.
    batch_probs
        Probability of each experimental batch, or None for a single batch. A batch multiplies every gene's mean by a
        factor of its own, made as the group factors are but for half the genes, with LogNormal(0.1, 0.1).
    de_prob
        Probability that a gene is changed in a group.
    library
        Mean and standard deviation of log ℓ (natural log). Splatter's own default is (11, 0.2); UMI data lie near 8.
    bcv
        ``(common, trend)``: the biological coefficient of variation is (common + trend / √λ) · √(60 / χ²₆₀).
    dispersion
        ``"gene"``: λ is the gene's mean count at the median library, so that θ_g = 1 / BCV² is one number per gene.
        ``"cell"``: Splatter's own trend, with λ the mean of each cell and gene.
    dropout
        ``(midpoint, shape)`` of the logistic probability of an extra zero in log mean; Splatter uses shape −1.
        None adds no zeros.
    seed
        Seed of the generator.

    Returns
    -------
    AnnData
        ``X`` counts, CSR float32. ``obs``: ``group``, ``batch``, ``library``. ``var``: ``base_mean``, ``true_theta``
        (NaN where ``dispersion="cell"``). ``varm["de_factor"]`` (n_genes, n_groups). ``layers["true_rate"]``: ρ, the
        expected proportion before dropout; with dropout, ``layers["dropped"]`` marks the extra zeros.
        Cells or genes without a single count are kept: remove them as you would in real data.

    Raises
    ------
    ValueError
        For probabilities that do not sum to 1, an unknown `dispersion`, or parameters outside their range.

    References
    ----------
    Zappia, Phipson & Oshlack 2017, Genome Biology 18:174, "The Splat model" and its default parameters.
    """
    n_cells, n_genes = whole("n_cells", n_cells, 1), whole("n_genes", n_genes, 2)
    require_pair("library", library, "the mean (below 30) and standard deviation of log ℓ", (-30, 0), (30, 10))
    require_pair("bcv", bcv, "coefficients ≥ 0, not both 0", (0, 0 if np.any(bcv) else 1))
    require_pair("dropout", (0, 0) if dropout is None else dropout, "midpoint and shape")
    if not 0 <= de_prob <= 1:
        raise ValueError(f"de_prob is {de_prob}; it is a probability between 0 and 1.")
    if dispersion not in ("gene", "cell"):
        raise ValueError(f'dispersion is {dispersion!r}; choose "gene" or "cell".')
    rng = np.random.default_rng(seed)
    group = draw_labels("group_probs", group_probs, n_cells, rng)
    batch = draw_labels("batch_probs", (1.0,) if batch_probs is None else batch_probs, n_cells, rng)
    cell_library = rng.lognormal(*library, n_cells)

    base_mean = rng.gamma(0.6, 1 / 0.3, n_genes) + 1e-12
    outlier = rng.random(n_genes) < 0.05
    base_mean[outlier] = np.median(base_mean) * rng.lognormal(4.0, 0.5, outlier.sum())
    de_factor = change_factors(n_genes, len(group_probs), de_prob, (0.1, 0.4), rng)
    n_batches = 1 if batch_probs is None else len(batch_probs)
    batch_factor = change_factors(n_genes, n_batches, 0.5 if n_batches > 1 else 0.0, (0.1, 0.1), rng)

    rate = (base_mean[:, None] * de_factor)[:, group].T * batch_factor[:, batch].T
    rate /= rate.sum(axis=1, keepdims=True)
    mean = cell_library[:, None] * rate
    typical = np.exp(library[0]) * base_mean / base_mean.sum() if dispersion == "gene" else mean
    variation = (bcv[0] + bcv[1] / np.sqrt(typical)) * np.sqrt(60 / rng.chisquare(60, n_genes))
    theta = 1 / variation**2
    counts = negative_binomial(mean, theta, rng)

    data = as_anndata(
        counts,
        obs={
            "group": as_categorical("group", group, len(group_probs)),
            "batch": as_categorical("batch", batch, n_batches),
        },
        var={"base_mean": base_mean, "true_theta": theta if dispersion == "gene" else np.full(n_genes, np.nan)},
        rate=rate,
        allow_empty=True,
    )
    data.obs["library"] = cell_library
    data.varm["de_factor"] = de_factor
    if dropout is not None:
        midpoint, shape = dropout
        dropped = rng.random(counts.shape) < expit(shape * (np.log(mean) - midpoint))
        data.X = sparse.csr_matrix(np.where(dropped, 0, counts).astype(np.float32))
        data.layers["dropped"] = dropped
    return data
