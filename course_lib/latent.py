"""What a code is worth: embed cells, reconstruct them, bound their log-likelihood, score clusters against labels.

The bounds ask three things of a model: ``encode(x)`` that returns mean and log variance of q(z∣x), a standard normal
prior, and ``log_likelihood(minibatch, z)`` that returns log p(x∣z), (batch,), in nats. The minibatch is passed whole,
for models that need library sizes or batches.
"""

import math

import anndata as ad
import numpy as np
import pandas as pd
import torch
from torch import nn

from course_lib.arguments import whole
from course_lib.likelihoods import kl_standard_normal, log_gaussian
from course_lib.minibatches import Cells
from course_lib.models.base import Minibatch, local_seed
from course_lib.scores import clustering_scores, variance_explained

__all__ = ["active_units", "annotate", "elbo", "embed", "iwae", "reconstruct"]
__all__ += ["clustering_scores", "variance_explained"]  # from scores


def embed(model: nn.Module, data, layer: str | None = None) -> np.ndarray:
    """Encode cells.

    Parameters
    ----------
    model
        A model with ``encode``. Where it returns a mean and a log variance, the mean is taken.
    data
        AnnData, or a tensor, array or sparse matrix (n_cells, n_genes), on the scale that the model was trained on.
    layer
        Layer of an AnnData; None takes ``X``.

    Returns
    -------
    ndarray
        Codes z, (n_cells, n_latent), float32.

    Raises
    ------
    ValueError
        For data that are not finite or have another number of genes than the model.
    """

    return _through(model, lambda minibatch: _code(model, minibatch).float(), data, layer)


def reconstruct(model: nn.Module, data, layer: str | None = None, *, library_key=None, batch_key=None) -> np.ndarray:
    """Encode cells and decode their codes again: for a model with a q(z∣x), the mean of q.

    Parameters, errors
        As in :func:`embed`; `library_key` and `batch_key` as in :func:`elbo`, for a model of counts.

    Returns
    -------
    ndarray
        x̂, (n_cells, n_genes), float32, on the scale of the input: for a model of counts μ = ℓ ρ, before extra zeros.
    """

    def decoded(minibatch: Minibatch):
        if hasattr(model, "rate"):
            return model.rate(minibatch, _posterior(model, minibatch)[0]).float()
        return model.decode(_code(model, minibatch)).float()

    return _through(model, decoded, data, layer, library_key, batch_key, decodes=True)


def annotate(model: nn.Module, adata: ad.AnnData, layer: str | None = None, *, library_key=None, batch_key=None):
    """Write what a trained model of counts says about cells beside them: codes and mean counts.

    Parameters, errors
        As in :func:`reconstruct`, for an AnnData. It gains ``obsm["X_scvi"]``, the mean of q(z∣x), (n_cells, n_latent),
        and ``layers["scvi_rate"]``, μ = ℓ ρ at that z, (n_cells, n_genes), dense; both float32.

    Returns
    -------
    AnnData
        The same object.
    """
    if not isinstance(adata, ad.AnnData):
        raise ValueError(f"adata is {type(adata).__name__}; results are written into an AnnData: ad.AnnData(x).")
    rate = reconstruct(model, adata, layer, library_key=library_key, batch_key=batch_key)
    adata.obsm["X_scvi"], adata.layers["scvi_rate"] = embed(model, adata, layer), rate
    return adata


def elbo(
    model: nn.Module, data, *, n_samples: int = 10, seed: int = 0, layer=None, library_key=None, batch_key=None
) -> np.ndarray:
    """Estimate the evidence lower bound of each cell: E_q log p(x∣z) − KL(q(z∣x) ‖ N(0, I)) ≤ log p(x).

    Parameters
    ----------
    model
        A model with ``encode`` and ``log_likelihood``, as described at the top of this module.
    data
        AnnData, or a tensor, array or sparse matrix (n_cells, n_genes), on the scale that the model was trained on.
    n_samples
        Draws of z per cell over which log p(x∣z) is averaged; the KL is exact. The estimate is unbiased for any number.
    seed
        Seed of the draws. The same seed gives the same noise as another generator with that seed, so give cells that
        were sampled from a model and the estimates that are made of them different seeds.
    layer, library_key, batch_key
        For AnnData, as in :func:`course_lib.training.fit`.

    Returns
    -------
    ndarray
        (n_cells,), in nats, in the precision of the model.

    Raises
    ------
    ValueError
        For an `n_samples` below 1, a model that has no q(z∣x), or data that do not fit the model.

    References
    ----------
    Kingma & Welling 2014, arXiv:1312.6114, section 2.3.
    """
    n_samples = whole("n_samples", n_samples, 1)

    def bound(minibatch: Minibatch):
        mu, logvar = _posterior(model, minibatch)
        draws = (model.log_likelihood(minibatch, z) for z, _ in _draws(mu, logvar, n_samples))
        return sum(draws) / n_samples - kl_standard_normal(mu, logvar)

    return _through(model, bound, data, layer, library_key, batch_key, seed, decodes=True)


def iwae(
    model: nn.Module, data, n_samples: int, *, seed: int = 0, layer=None, library_key=None, batch_key=None
) -> np.ndarray:
    """Estimate the importance-weighted bound of each cell: log p(x) from below, the closer the more samples.

    Parameters
    ----------
    model, data, seed, layer, library_key, batch_key
        As in :func:`elbo`.
    n_samples
        K, the draws of z per cell. In expectation, 1 gives the ELBO, and the bound rises with K towards log p(x).

    Returns
    -------
    ndarray
        log (1/K) Σ_k p(x∣z_k) p(z_k) / q(z_k∣x), (n_cells,), in nats, in the precision of the model.

    Raises
    ------
    ValueError
        As in :func:`elbo`.

    References
    ----------
    Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, section 3 and theorem 1.
    """
    n_samples = whole("n_samples", n_samples, 1)

    def bound(minibatch: Minibatch):
        mu, logvar = _posterior(model, minibatch)
        total = torch.full_like(mu[:, 0], -math.inf)
        for z, log_q in _draws(mu, logvar, n_samples):  # one at a time: memory does not grow with K
            log_weight = model.log_likelihood(minibatch, z) + log_gaussian(z, 0.0 * mu).sum(dim=1) - log_q
            total = torch.logaddexp(total, log_weight)
        return total - math.log(n_samples)

    return _through(model, bound, data, layer, library_key, batch_key, seed, decodes=True)


def active_units(model: nn.Module, data, layer: str | None = None, threshold: float = 0.01) -> pd.DataFrame:
    """Measure what each latent dimension is used for.

    Parameters
    ----------
    model, data, layer
        As in :func:`embed`, for a model whose ``encode`` returns a mean and a log variance.
    threshold
        Variance above which a dimension counts as active.

    Returns
    -------
    DataFrame
        A row per latent dimension: ``variance``, that of q's mean over the cells; ``kl``, its share of
        KL(q ‖ N(0, I)), averaged over the cells, in nats; ``active``, whether the variance is above `threshold`.

    Raises
    ------
    ValueError
        For a model that has no q(z∣x), or data that do not fit the model.

    References
    ----------
    Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519 (active units).
    """
    q = _through(model, lambda minibatch: torch.stack(_posterior(model, minibatch), dim=1), data, layer)
    mu, logvar = torch.as_tensor(q, dtype=torch.float64).unbind(dim=1)
    variance = mu.var(dim=0, correction=0).numpy()
    kl = kl_standard_normal(mu[..., None], logvar[..., None]).mean(dim=0).numpy()
    return pd.DataFrame({"variance": variance, "kl": kl, "active": variance > threshold})


def _code(model: nn.Module, minibatch: Minibatch) -> torch.Tensor:
    z = model.encode(minibatch.x)  # with a latent library, one column more than the code has
    return z[0][:, : getattr(model, "n_latent", None)] if isinstance(z, tuple) else z


def _posterior(model: nn.Module, minibatch: Minibatch) -> tuple[torch.Tensor, torch.Tensor]:
    q = model.encode(minibatch.x)
    if not isinstance(q, tuple):
        raise ValueError(f"{type(model).__name__} has codes and no q(z∣x); give a variational model.")
    return q


def _draws(mu: torch.Tensor, logvar: torch.Tensor, n_samples: int):
    """Yield z drawn from q, and log q(z∣x) by way of ε: right even where σ_z underflows."""
    for _ in range(n_samples):
        eps = torch.randn_like(mu)
        log_q = log_gaussian(eps, 0.0 * mu) - 0.5 * logvar
        yield mu + torch.exp(0.5 * logvar) * eps, log_q.sum(dim=1)


def _through(model: nn.Module, function, data, layer=None, library_key=None, batch_key=None, seed=0, decodes=False):
    weight = next(model.parameters())
    cells = Cells(data, layer, library_key, batch_key, weight.device, weight.dtype)
    cells.check_for(model)
    if decodes:
        cells.match_batches(model)
    was_training = model.training
    model.eval()
    values, start = None, 0
    try:
        with torch.inference_mode(), local_seed(seed, weight.device):
            for minibatch in cells.chunks():
                part = function(minibatch).cpu().numpy()
                if values is None:  # one array, filled: small results kept between minibatches fragment memory
                    values = np.empty((len(cells), *part.shape[1:]), dtype=part.dtype)
                values[start : start + len(part)] = part
                start += len(part)
    finally:
        model.train(was_training)
    return values
