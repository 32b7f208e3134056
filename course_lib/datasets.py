"""Real data: small sets that travel with the package."""

from importlib.resources import files

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.datasets import load_digits

from course_lib.arguments import whole


def pbmc() -> ad.AnnData:
    """Load 700 peripheral blood mononuclear cells × 765 genes, as raw counts, with ten cell-type labels.

    The cells are a subsample of 10x Genomics' "Fresh 68k PBMCs (Donor A)". The labels come from the expression profiles
    themselves: Zheng et al. gave each cell the type whose purified bulk-sorted reference it correlates with best. To
    agree with them is therefore partly circular.

    Returns
    -------
    AnnData
        ``X``: UMI counts, CSR float32 (700, 765). ``obs``: ``cell_type`` (ten labels), ``n_counts`` (UMIs over *all*
        genes of the cell: the 765 genes hold about a fifth of them) and ``n_genes`` (genes detected, of all).
        ``var_names``: gene symbols. ``uns["source"]``: origin and licence.

    References
    ----------
    Zheng et al. 2017, Nature Communications 8:14049 (data: 10x Genomics, CC BY 4.0). Subsample and gene panel:
    scanpy's ``pbmc68k_reduced`` (BSD-3-Clause); the counts come back exactly, as rint(expm1(raw) · n_counts / 10⁴).
    """
    with (files("course_lib") / "data" / "pbmc.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
        parts = {name: stored[name] for name in stored.files}
    shape = (len(parts["cells"]), len(parts["genes"]))
    counts = sparse.csr_matrix((parts["data"].astype(np.float32), parts["indices"], parts["indptr"]), shape=shape)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(parts["cell_type"], categories=list(parts["cell_types"])),
            "n_counts": parts["n_counts"].astype(np.int64),
            "n_genes": parts["n_genes"].astype(np.int64),
        },
        index=parts["cells"],
    )
    adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=parts["genes"]))
    adata.uns["source"] = "10x Genomics, Fresh 68k PBMCs (Donor A), CC BY 4.0; Zheng et al. 2017; from scanpy, BSD-3"
    return adata


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Load 1,797 handwritten digits of 8 × 8 pixels.

    Returns
    -------
    images
        (1797, 64), float32, grey values from 0 (background) to 1 (ink): whole numbers 0 to 16, divided by 16.
    labels
        (1797,), int64: the digit, 0 to 9.

    References
    ----------
    Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    doi:10.24432/C50P49; the test half, as it comes with scikit-learn.
    """
    stored = load_digits()
    return (stored.data / 16).astype(np.float32), stored.target.astype(np.int64)


def curves(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw images of 28 × 28 pixels, each a smooth stroke set by three random points: six numbers make an image.

    The points are uniform over the inner 19 × 19 pixels. The stroke is the quadratic Bézier curve that starts at the
    first, ends at the third and is pulled by the second; its ink falls off as a Gaussian of standard deviation one
    pixel with the distance from the curve, and is rounded to 256 grey values.

    Returns
    -------
    images
        (n, 784), float32, from 0 (background) to 1 (ink).
    points
        (n, 3, 2), float64: the points in pixels, (column, row).

    Raises
    ------
    ValueError
        For an `n` that is no whole number of at least 1.

    References
    ----------
    Hinton & Salakhutdinov 2006 describe such a set ("curves", three random points in two dimensions) without its
    formula; this one is drawn anew.
    """
    n = whole("n", n, 1)
    points = np.random.default_rng(seed).uniform(4, 23, size=(n, 3, 2))
    t = np.linspace(0, 1, 48)[:, None]
    bezier = np.hstack([(1 - t) ** 2, 2 * t * (1 - t), t**2])  # (48 places on a curve, 3 points)
    pixels, images = np.arange(28), np.empty((n, 28, 28), dtype=np.float32)
    for i, path in enumerate(bezier @ points):
        columns, rows = ((pixels[:, None] - axis) ** 2 for axis in path.T)  # (28 pixels, 48 places)
        nearest = (rows[:, None] + columns).min(axis=-1)
        images[i] = np.round(255 * np.exp(-nearest / 2)) / 255
    return images.reshape(n, 784), points
