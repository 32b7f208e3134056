"""Real data that travel with the package, curves to draw at will, and MNIST to download."""

import gzip
import math
import zlib
from importlib.resources import files
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.datasets import load_digits

from course_lib.arguments import whole

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
"""The files of MNIST with their MD5 sums; mirror and sums are those of torchvision."""


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
    pixel with the distance from the nearest of 48 places along it, and is rounded to 256 grey values.

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


def mnist(path: str | Path | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Load MNIST, 70,000 handwritten digits of 28 × 28 pixels: downloaded once (12 MB), checked and kept.

    Parameters
    ----------
    path
        Folder that holds the four files ``train-images-idx3-ubyte.gz``, ``train-labels-idx1-ubyte.gz``,
        ``t10k-images-idx3-ubyte.gz`` and ``t10k-labels-idx1-ubyte.gz``; what they hold is then taken as it is. None
        downloads them into the user's cache, unless they are there already, and compares their MD5 sums.

    Returns
    -------
    train_images, train_labels, test_images, test_labels
        Images (60000, 784) and (10000, 784), float32, grey values from 0 (background) to 1 (ink): whole numbers 0 to
        255, divided by 255. Labels (60000,) and (10000,), int64: the digit, 0 to 9.

    Raises
    ------
    ValueError
        For a file that is missing, damaged, or not what its name says.
    ImportError
        Where the package pooch, which downloads, is not installed.
    OSError
        Where the download fails.

    References
    ----------
    LeCun, Bottou, Bengio & Haffner 1998, Proceedings of the IEEE 86, 2278-2324, doi:10.1109/5.726791.
    """
    folder = _downloaded_mnist() if path is None else Path(path)
    parts = [_read_idx(folder / name, n_axes=3 if "images" in name else 1) for name in MNIST_FILES]
    for images, labels in (parts[:2], parts[2:]):
        if images.shape != (len(labels), 28, 28):
            raise ValueError(
                f"{folder} holds images of shape {images.shape} with {len(labels)} labels; "
                "there must be 28 × 28 pixels and one label to an image."
            )
    return tuple(
        part.astype(np.int64) if part.ndim == 1 else part.reshape(len(part), -1).astype(np.float32) / 255
        for part in parts
    )


def _downloaded_mnist() -> Path:
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "mnist() downloads with pooch, which is not installed: run `pip install pooch`, "
            "or download the files yourself and give their folder as path."
        ) from error
    folder = Path(pooch.os_cache("course_lib")) / "mnist"
    for name, md5 in MNIST_FILES.items():
        try:
            pooch.retrieve(MNIST_URL + name, known_hash=f"md5:{md5}", fname=name, path=folder)
        except (OSError, ValueError) as error:  # no network or no such file; another MD5 sum
            raise OSError(
                f"{MNIST_URL}{name} could not be downloaded to {folder} ({error}). Try again later, "
                f"or put {', '.join(MNIST_FILES)} into a folder and give it as path."
            ) from error
    return folder


def _read_idx(file: Path, n_axes: int) -> np.ndarray:
    """Read a compressed file of bytes: 0, 0, 8 (for bytes), number of axes, length of each in four bytes, values."""
    if not file.is_file():
        raise ValueError(f"{file} does not exist; path must be a folder that holds {', '.join(MNIST_FILES)}.")
    try:
        content = gzip.decompress(file.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{file} is damaged or no gzip file ({error}); delete it and download it again.") from error
    start, magic = 4 + 4 * n_axes, bytes([0, 0, 8, n_axes])
    if len(content) < start or content[:4] != magic:
        raise ValueError(f"{file} starts with {content[:4]!r}, not with {magic!r} and a shape; download it again.")
    shape = np.frombuffer(content[4:start], dtype=">u4").tolist()
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{file} says {shape} and holds {len(content) - start} values; download it again.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
