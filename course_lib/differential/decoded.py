"""Tests that believe the decoder: two cells, many pairs of cells, averages over groups."""

from collections.abc import Iterator
from contextlib import contextmanager

import anndata as ad
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from course_lib.arguments import require_not_negative, require_positive, whole
from course_lib.counts import matrix
from course_lib.differential.calibration import expected_fdr
from course_lib.differential.groups import two_groups
from course_lib.minibatches import Cells
from course_lib.models.base import local_seed

CHUNK = 512
"""Cells that are decoded at a time."""

N_SAMPLES = {"pairs": 5000, "means": 25}


def two_cell_test(
    model: nn.Module,
    adata: ad.AnnData,
    cell_a: str,
    cell_b: str,
    *,
    k: float = 1e-4,
    ratio: float = 2.0,
    n_samples: int = 1000,
    layer: str | None = None,
    batch_key: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare two cells as the lecture does: count how often ∣ρ_a − ρ_b∣ > k (H₁) against ≤ k (H₂).

    From the counts of each whole cell the encoder gives q(z∣x). A z is drawn for either cell and decoded, and each gene
    counts for the hypothesis that these two ρ agree with; and again, `n_samples` times.

    Parameters
    ----------
    model
        A trained :class:`~course_lib.models.SimpleScVI`.
    adata
        Cells with raw counts in ``X`` (or `layer`) of the genes that `model` was trained on.
    cell_a, cell_b
        Names of two cells (``obs_names``).
    k
        Threshold on the difference of two proportions.
    ratio
        A gene is called where P(H₁) / P(H₂) is above this.
    n_samples
        Pairs of draws.
    layer, batch_key
        As in :func:`course_lib.training.fit`. With several batches ρ is decoded for each that the model knows, and
        averaged, so that the cells are compared as if they had been measured together.
    seed
        Seed of the draws.

    Returns
    -------
    DataFrame
        A row per gene, the highest odds first: ``rho_a`` and ``rho_b``, means over the draws; ``n_h1`` and ``n_h2``,
        the draws for either; ``odds``, their ratio (infinite where no draw is for H₂); ``is_de``, odds above `ratio`.

    Raises
    ------
    ValueError
        For cells that are not there or the same, settings out of range, or data that do not fit the model.

    Notes
    -----
    The odds are posterior odds. They are a Bayes factor only where both hypotheses are equally probable before the data
    are seen, and a threshold on them controls no error rate. See :func:`differential_expression`.

    References
    ----------
    Lopez et al. 2018, doi:10.1038/s41592-018-0229-2, Methods (there H₁ is ρ_a > ρ_b).
    """
    require_not_negative("k", k)
    require_positive("ratio", ratio)
    n_samples = whole("n_samples", n_samples, 1)
    matrix(adata, layer)
    for name, cell in (("cell_a", cell_a), ("cell_b", cell_b)):
        if cell not in adata.obs_names:
            raise ValueError(f"{name} is {cell!r}, which is none of adata.obs_names ({adata.obs_names[0]!r}, …).")
    if cell_a == cell_b:
        raise ValueError(f"cell_a and cell_b are both {cell_a!r}; name two cells.")
    cells = model_cells(model, adata[[cell_a, cell_b]], layer, batch_key=batch_key)
    sums, n_h1 = np.zeros((2, adata.n_vars)), np.zeros(adata.n_vars, dtype=np.int64)
    with drawing(model, seed):
        for index in torch.arange(n_samples).split(CHUNK):
            rho = [_draw(model, cells, torch.full((len(index),), i)) for i in (0, 1)]
            n_h1 += ((rho[0] - rho[1]).abs() > k).sum(0).cpu().numpy()
            sums += torch.stack([part.double().sum(0) for part in rho]).cpu().numpy()
    genes = pd.DataFrame({"rho_a": sums[0], "rho_b": sums[1]}, index=adata.var_names) / n_samples
    genes["n_h1"], genes["n_h2"] = n_h1, n_samples - n_h1
    genes["odds"] = np.divide(n_h1, n_samples - n_h1, out=np.full(len(n_h1), np.inf), where=n_h1 < n_samples)
    genes["is_de"] = genes["odds"] > ratio
    return genes.sort_values("odds", ascending=False, kind="stable")


def decoded_test(
    model: nn.Module,
    adata: ad.AnnData,
    groupby: str,
    group,
    reference=None,
    *,
    over: str = "pairs",
    delta: float = 0.25,
    pseudocount: float = 5e-5,
    fdr: float = 0.05,
    n_samples: int | None = None,
    layer: str | None = None,
    batch_key: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare decoded proportions of two groups by their log fold change.

    Parameters
    ----------
    model, adata, layer, batch_key
        As in :func:`two_cell_test`.
    groupby, group, reference
        Column of ``obs``, the group, and the group it is compared with; None compares with all other labelled cells.
    over
        ``"pairs"``: a draw takes one cell from each group. ``"means"``: it takes all cells and averages ρ over either
        group, so that what differs from cell to cell averages out.
    delta
        δ: ∣LFC∣ above it counts as differential expression.
    pseudocount
        Proportion added to both ρ before the logarithm.
    fdr
        Posterior expected false discovery rate up to which genes are called.
    n_samples
        Draws; None takes 5,000 pairs, or 25 times all cells.
    seed
        Seed of the draws.

    Returns
    -------
    DataFrame
        A row per gene, the highest ``prob_de`` first: ``lfc_mean`` and ``lfc_std`` (log2, over draws), ``prob_de``, the
        share of draws with ∣LFC∣ > δ, and ``is_de``.

    Raises
    ------
    ValueError
        For missing columns or labels, groups of one cell, settings out of range, or data that do not fit the model.

    Notes
    -----
    What is drawn is z alone. The decoder's weights are taken as known, so that the error they have made is in every
    draw alike: ``lfc_std`` does not know of it.

    What it has learned from cells without a label is in every draw as well. Where few cells of a large population are
    labelled, these fold changes order genes better than the labelled cells' own counts can; ``make bench`` shows both.

    References
    ----------
    Boyeau et al. 2019, doi:10.1101/794289, and 2023, doi:10.1073/pnas.2209124120.
    """
    for name, value in (("delta", delta), ("pseudocount", pseudocount), ("fdr", fdr)):
        require_positive(name, value)
    if over not in N_SAMPLES:
        raise ValueError(f'over is {over!r}; choose "pairs" or "means".')
    n_samples = whole("n_samples", N_SAMPLES[over] if n_samples is None else n_samples, 2)
    matrix(adata, layer)
    ours, theirs = two_groups(adata, groupby, group, reference, least=2)
    cells = model_cells(model, adata[np.r_[ours, theirs]], layer, batch_key=batch_key)
    sides = torch.arange(len(cells)).split([len(ours), len(theirs)])
    draws = {"pairs": _pairs, "means": _means}[over]
    first = second = beyond = 0.0
    with drawing(model, seed):
        for a, b in draws(model, cells, sides, n_samples):
            lfc = torch.log2(a.double() + pseudocount) - torch.log2(b.double() + pseudocount)
            first, second = first + lfc.sum(0), second + (lfc * lfc).sum(0)
            beyond = beyond + (lfc.abs() > delta).double().sum(0)
    mean = first / n_samples
    std = (second / n_samples - mean**2).clamp(min=0.0).sqrt()
    columns = {"lfc_mean": mean, "lfc_std": std, "prob_de": beyond / n_samples}
    genes = pd.DataFrame({name: value.cpu().numpy() for name, value in columns.items()}, index=adata.var_names)
    genes["is_de"] = expected_fdr(genes["prob_de"]) <= fdr
    size = genes["lfc_mean"].abs().rename("size")
    order = genes.join(size).sort_values(["prob_de", "size"], ascending=False, kind="stable").index
    return genes.loc[order]


def model_cells(model: nn.Module, adata: ad.AnnData, layer=None, library_key=None, batch_key=None) -> Cells:
    """Return the cells on the device of `model`, or raise a ValueError where it decodes no proportions of these."""
    if not getattr(model, "takes_counts", False):
        raise ValueError(f"model is {type(model).__name__}; proportions take a model of counts, such as SimpleScVI.")
    if not model.initialised:
        raise ValueError("model has not been trained; call training.fit(model, adata, …) first.")
    weight = next(model.parameters())
    cells = Cells(adata, layer, library_key, batch_key, weight.device, weight.dtype)
    cells.check_for(model)
    cells.match_batches(model)
    return cells


@contextmanager
def drawing(model: nn.Module, seed: int) -> Iterator[None]:
    """Draw with a seed of one's own, in ``eval`` mode and without gradients; afterwards all is as before."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), local_seed(seed, next(model.parameters()).device):
            yield
    finally:
        model.train(was_training)


def proportions(model: nn.Module, z: Tensor) -> Tensor:
    """Decode ρ (batch, n_genes) from z with as many columns as ``encode`` gives, averaged over the model's batches."""
    z, total = z[:, : model.n_latent], 0.0
    for s in range(model.n_batches):
        total = total + model.decode(z, torch.full((len(z),), s, device=z.device))[0]
    return total / model.n_batches


def _draw(model: nn.Module, cells: Cells, index: Tensor) -> Tensor:
    """Draw z for each of the cells `index`, which may come more than once, and decode it."""
    return proportions(model, model.reparameterize(*model.encode(cells.minibatch(index).x)))


def _pairs(model, cells, sides, n_samples):
    for part in torch.arange(n_samples).split(CHUNK):
        chosen = [side[torch.randint(len(side), (len(part),))] for side in sides]
        yield tuple(_draw(model, cells, index) for index in chosen)


def _means(model, cells, sides, n_samples):
    for _ in range(n_samples):
        yield tuple(
            sum(_draw(model, cells, index).double().sum(0, keepdim=True) for index in side.split(CHUNK)) / len(side)
            for side in sides
        )
