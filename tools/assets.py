"""Make the small files that travel with course_lib: ``python -m tools.assets [pbmc] [curves]``, without names all."""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from course_lib import datasets, models, training

DATA = Path(__file__).parent.parent / "course_lib" / "data"


def pbmc_arrays() -> dict[str, np.ndarray]:
    """Recover raw counts and labels from the PBMC subsample in scanpy's wheel.

    scanpy stores log(1 + 10⁴ · count / n_counts), rounded to three decimals; undoing it lands near whole
    numbers.
    """
    import scanpy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = scanpy.datasets.pbmc68k_reduced()
    n_counts = source.obs["n_counts"].to_numpy(np.float64)
    restored = source.raw.X.multiply(1).tocsr()
    restored.data = np.expm1(restored.data.astype(np.float64))
    restored = restored.multiply(n_counts[:, None] / 1e4).tocsr()
    distance = np.abs(restored.data - np.rint(restored.data)).max()
    if distance > 0.1:
        raise ValueError(f"the restored counts are up to {distance:.2f} away from whole numbers; expected at most 0.1")
    restored.data = np.rint(restored.data)
    restored.eliminate_zeros()
    labels = source.obs["bulk_labels"]
    return {
        "data": restored.data.astype(np.uint16),
        "indices": restored.indices.astype(np.uint16),
        "indptr": restored.indptr.astype(np.int32),
        "cells": source.obs_names.to_numpy(str),
        "genes": source.var_names.to_numpy(str),
        "cell_type": labels.cat.codes.to_numpy(np.int8),
        "cell_types": labels.cat.categories.to_numpy(str),
        "n_counts": np.rint(n_counts).astype(np.int32),
        "n_genes": source.obs["n_genes"].to_numpy(np.int32),
    }


def pbmc() -> None:
    """Write the PBMC counts (215 KB)."""
    np.savez_compressed(DATA / "pbmc.npz", **pbmc_arrays())


def curves() -> None:
    """Train chapter 2's deep autoencoder on 40,000 curves (about ten minutes on one core) and write its weights."""
    images, _ = datasets.curves(40_000, seed=0)
    model = models.DeepAutoencoder(models.deep.CURVES_SIZES, seed=0)
    training.fit(model, images, n_epochs=80, batch_size=100, lr=2e-3, schedule="cosine", validation=0, seed=0)
    weights = {name: weight.half() for name, weight in model.cpu().state_dict().items()}
    torch.save(weights, DATA / "curves_autoencoder.pt")


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    for make in (pbmc, curves):
        if make.__name__ in sys.argv[1:] or not sys.argv[1:]:
            make()
