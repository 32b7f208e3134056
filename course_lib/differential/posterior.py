"""Differential expression from counts and a model of them: the counts say how much, the model says how sure."""

import anndata as ad
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from course_lib.arguments import require_positive, whole
from course_lib.counts import matrix
from course_lib.differential.calibration import expected_fdr
from course_lib.differential.decoded import CHUNK, drawing, model_cells
from course_lib.differential.groups import two_groups
from course_lib.differential.shrinkage import TINY, shrink
from course_lib.minibatches import Cells


def differential_expression(
    model: nn.Module,
    adata: ad.AnnData,
    groupby: str,
    group,
    reference=None,
    *,
    delta: float = 0.25,
    fdr: float = 0.05,
    n_samples: int = 1,
    layer: str | None = None,
    library_key: str | None = None,
    batch_key: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate each gene's log fold change between two groups of cells, and the probability that it exceeds δ.

    Three steps. (1) *How much*: the counts of either group are added up, beside the depth they were drawn from, and
    their ratios are compared within each batch. Decoded values enter by the weights of cells alone, so that errors
    of the decoder, which are the same in every draw of z, do not pass for effects.
    (2) *How sure*: the model says how counts vary between the cells of a group, by overdispersion (θ_g) and by what z
    explains (different cells of a group decode to different ρ_g); with that, the counts give a standard error.
    (3) *Given all genes*: :func:`shrink` learns from all estimates how many genes change and by how much, and from that
    gives each gene's posterior.

    Parameters
    ----------
    model
        A trained :class:`~course_lib.models.SimpleScVI`.
    adata
        Cells with raw counts in ``X`` (or `layer`) of the genes that `model` was trained on.
    groupby, group, reference
        Column of ``obs``, the group, and the group it is compared with; None compares with all other labelled cells.
    delta
        δ: a gene counts as differentially expressed where ∣LFC∣ > δ (log2).
    fdr
        Posterior expected false discovery rate up to which genes are called.
    n_samples
        Draws of z per cell for what z explains.
    layer, library_key, batch_key
        As in :func:`course_lib.training.fit`.
    seed
        Seed of the draws.

    Returns
    -------
    DataFrame
        A row per gene, the highest odds first. ``lfc_mean``, ``lfc_std``: posterior mean and standard deviation of the
        log2 ratio of mean proportions, group to reference. ``prob_de``: probability of ∣LFC∣ > δ.
        ``log_posterior_odds``: log of that to the probability of ∣LFC∣ ≤ δ (natural log). ``expected_fdr``: of the list
        that ends with this gene; ``is_de``: whether it is at most `fdr`. ``prob_changed``: probability that the gene
        changed at all, beyond the shift that all genes share. ``lfsr``: probability that the sign of that change is
        wrong. ``lfc_observed``, ``lfc_error``: estimate and standard error before step 3. ``attrs``: ``shift`` and
        ``prob_unchanged`` (m and π_0 in :func:`shrink`), ``n_cells`` on both sides.

    Raises
    ------
    ValueError
        For missing columns or labels, groups of one cell, batches of which none has cells of both groups, settings out
        of range, or data that do not fit the model.

    Notes
    -----
    For a gene and a group, with counts x_n, libraries ℓ_n and κ = (1 + c²) / θ + c², where c is the coefficient of
    variation of the decoded ρ over the group's cells, Var x_n = μ_n + κ μ_n² at μ_n = ℓ_n ρ̄. So a cell has the weight
    w_n = 1 / (1 + κ μ_n), and

        log ρ̂ = log (½ + Σ w_n x_n) − log Σ w_n ℓ_n

    has the variance Σ w_n² Var x_n / (Σ w_n x_n)². The half count takes away the bias of the logarithm to first order
    (Firth 1993, doi:10.1093/biomet/80.1.27) and makes groups without a count comparable. Batches are joined by Mantel
    and Haenszel's weights. With a ``"zinb"`` model it is (1 − π) ρ that is compared: the mean that is seen.

    Proportions sum to 1: where some genes rise, all others fall by the same factor, ``attrs["shift"]``. Where that is
    not small beside δ, as on a panel of marker genes, give libraries counted over all genes (`library_key`).

    The model is needed for κ alone. Where both groups have hundreds of cells, κ by moments of their counts serves as
    well. With 15 cells a side of groups that are not uniform it claims too much, and the model's too little rather than
    too much (``make bench``).

    What is claimed is about the population of cells that each group was sampled from. Cells of one donor say nothing
    about other donors: see :func:`pseudobulk`.

    References
    ----------
    Stephens 2017, doi:10.1093/biostatistics/kxw041 (step 3); Boyeau et al. 2023, doi:10.1073/pnas.2209124120
    (∣LFC∣ > δ and expected FDR); Mantel & Haenszel 1959, doi:10.1093/jnci/22.4.719.
    """
    require_positive("delta", delta)
    require_positive("fdr", fdr)
    n_samples = whole("n_samples", n_samples, 1)
    matrix(adata, layer)
    ours, theirs = two_groups(adata, groupby, group, reference, least=2)
    cells = model_cells(model, adata[np.r_[ours, theirs]], layer, library_key, batch_key)
    stratum = cells.batch_index + model.n_batches * (torch.arange(len(cells)) >= len(ours)).to(cells.device)
    sizes = torch.bincount(stratum, minlength=2 * model.n_batches).reshape(2, -1)
    if not (sizes > 0).all(dim=0).any():
        raise ValueError(f"no batch of {batch_key!r} has cells of both groups; they cannot be told apart.")
    with drawing(model, seed):
        mean, overdispersion = _variation(model, cells, stratum, sizes, n_samples)
        totals = _totals(cells, stratum, mean, overdispersion)
    estimate, error = log2_ratio(*(part.reshape(2, model.n_batches, -1) for part in totals))
    genes = _table(adata.var_names, estimate, error, delta)
    genes.insert(4, "expected_fdr", expected_fdr(genes["prob_de"]))
    genes.insert(5, "is_de", genes["expected_fdr"] <= fdr)
    genes.attrs["n_cells"] = (len(ours), len(theirs))
    return genes.sort_values("log_posterior_odds", ascending=False, kind="stable")


def log2_ratio(count: np.ndarray, depth: np.ndarray, noise: np.ndarray, spread: np.ndarray):
    """Compare weighted counts of two sides within batches.

    Parameters
    ----------
    count, depth
        Σ w x and Σ w ℓ, each (2, n_batches, n_genes): group and reference, 0 where a side has no cell.
    noise, spread
        Σ w² ℓ and κ Σ (w ℓ)², of the same shape: at proportion ρ the variance of `count` is ρ `noise` + ρ² `spread`.

    Returns
    -------
    (ndarray, ndarray)
        Log2 of the ratio of proportions, and its standard error, each (n_genes,).
    """
    weight = depth[::-1] / np.maximum(depth.sum(axis=0), TINY)  # Mantel and Haenszel's: the other side's share of depth
    half = 0.5 * (weight * depth).sum(axis=1) / depth.sum(axis=1)
    total = (weight * count).sum(axis=1) + half
    rho = (total / (weight * depth).sum(axis=1))[:, None]
    variance = (weight**2 * (rho * noise + rho**2 * spread)).sum(axis=1) / total**2
    return np.log2(total[0] / total[1]), np.sqrt(variance.sum(axis=0)) / np.log(2)


def _variation(model: nn.Module, cells: Cells, stratum: Tensor, sizes: Tensor, n_samples: int) -> tuple[Tensor, Tensor]:
    """Decode all cells; return mean proportion and overdispersion κ, each (strata, n_genes), float64.

    κ has one value for each side and gene. What z explains is measured within batches.
    """
    first, second, third = torch.zeros(3, sizes.numel(), model.n_genes, dtype=torch.float64, device=cells.device)
    for index in torch.arange(len(cells), device=cells.device).split(CHUNK):
        minibatch, where = cells.minibatch(index), stratum[index]
        q = model.encode(minibatch.x)
        for _ in range(n_samples):
            z = model.reparameterize(*q)[:, : model.n_latent]
            mean, zi_logits = model.decode(z, minibatch.batch_index)
            kappa = torch.exp(-model.log_theta).double().expand(len(index), -1)
            if zi_logits is not None:  # x is an extra zero with probability π: a smaller mean, and more variance
                keep = torch.sigmoid(-zi_logits).double().clamp(min=1e-6)
                mean, kappa = mean * keep, (1 - keep + kappa) / keep
            mean = mean.double()
            for total, part in ((first, mean), (second, mean**2), (third, mean**2 * kappa)):
                total.index_add_(0, where, part)
    n = sizes.reshape(-1, 1).double()
    mean = (first / (n * n_samples).clamp(min=1)).clamp(min=TINY)
    scale = n_samples * mean**2
    between = torch.where(n > 0, second / scale - n, 0.0).reshape(*sizes.shape, -1).sum(dim=1)
    within = torch.where(n > 0, third / scale, 0.0).reshape(*sizes.shape, -1).sum(dim=1)
    freedom = (sizes.sum(dim=1) - (sizes > 0).sum(dim=1)).clamp(min=1)[:, None]
    kappa = within / sizes.sum(dim=1)[:, None] + between.clamp(min=0.0) / freedom
    return mean, kappa.repeat_interleave(sizes.shape[1], dim=0)


def _totals(cells: Cells, stratum: Tensor, mean: Tensor, kappa: Tensor) -> list[np.ndarray]:
    """Add up weighted counts and depths: the four arguments of :func:`log2_ratio`, each (strata, n_genes)."""
    sums = torch.zeros(4, *mean.shape, dtype=torch.float64, device=mean.device)
    for index in torch.arange(len(cells), device=cells.device).split(CHUNK):
        minibatch, where = cells.minibatch(index), stratum[index]
        library = minibatch.library.double()
        weight = 1 / (1 + kappa[where] * library * mean[where])
        depth = weight * library
        parts = (weight * minibatch.x, depth, weight * depth, kappa[where] * depth**2)
        for total, part in zip(sums, parts, strict=True):
            total.index_add_(0, where, part)
    return list(sums.cpu().numpy())


def _table(names, estimate: np.ndarray, error: np.ndarray, delta: float) -> pd.DataFrame:
    posterior = shrink(estimate, error)
    mean, std = posterior.moments()
    outside, inside = posterior.beyond(delta)
    columns = {
        "lfc_mean": mean,
        "lfc_std": std,
        "prob_de": np.minimum(outside, 1.0),
        "log_posterior_odds": np.log(np.maximum(outside, TINY)) - np.log(np.maximum(inside, TINY)),
        "prob_changed": posterior.changed(),
        "lfsr": posterior.wrong_sign(),
        "lfc_observed": estimate,
        "lfc_error": error,
    }
    genes = pd.DataFrame(columns, index=names)
    genes.attrs.update(shift=posterior.shift, prob_unchanged=float(posterior.prior[0]))
    return genes
