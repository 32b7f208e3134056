"""Make the small files that travel with course_lib. Run as ``make assets``."""

import warnings
from pathlib import Path

import numpy as np

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


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    np.savez_compressed(DATA / "pbmc.npz", **pbmc_arrays())
