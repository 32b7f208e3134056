"""Cells as tensors: the door through which AnnData, arrays and tensors reach a model."""

import anndata as ad
import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from course_lib import preprocess
from course_lib.models.base import Minibatch

CHUNK = 4096
"""Cells at a time wherever all cells are walked through."""


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    device
        ``"auto"`` takes CUDA where there is one, else the CPU; ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or a
        ``torch.device`` are taken as given.

    Raises
    ------
    ValueError
        For a name torch does not know, or CUDA where there is none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f'device is {device!r}; choose "auto", "cpu", "cuda" or "cuda:N".') from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f'device is {device!r} but torch sees no CUDA device; use device="auto" or "cpu" '
            "(in Colab: Runtime > Change runtime type > GPU)."
        )
    return chosen


class Cells:
    """All cells of a data set on one device, from which minibatches are taken by index.

    Dense data live on the device as one tensor. Sparse data live there as the three arrays of a CSR matrix, and only
    the rows of a minibatch are made dense.

    Parameters
    ----------
    data
        AnnData, or a tensor, array or scipy sparse matrix (n_cells, n_genes).
    layer
        Layer of an AnnData that the model sees; None takes ``X``.
    library_key
        Column of ``obs`` with library sizes; None sums the counts in ``X`` (for arrays: the rows).
    batch_key
        Column of ``obs`` with experimental batches; None puts all cells in batch 0.
    device
        Where the tensors live.
    dtype
        Precision of the minibatches: that of the model. What is stored is float32 in any case.

    Raises
    ------
    ValueError
        For data that are not two-dimensional, empty, not numeric, or contain NaN or infinity; for unknown names; for
        AnnData-only arguments beside an array.
    """

    def __init__(self, data, layer=None, library_key=None, batch_key=None, device="cpu", dtype=torch.float32):
        self.device, self.dtype, self.batch_names = torch.device(device), dtype, None
        if isinstance(data, ad.AnnData):
            x = preprocess.matrix(data, layer)
            library = preprocess.library_size(data, library_key=library_key)
            codes = np.zeros(data.n_obs, dtype=np.int64)
            if batch_key is not None:
                batch = preprocess.obs_column(data, batch_key).astype("category")
                if batch.isna().any():
                    raise ValueError(f"adata.obs[{batch_key!r}] has missing values; name a batch for each cell.")
                codes, self.batch_names = batch.cat.codes.to_numpy(np.int64), list(batch.cat.categories)
        else:
            given = {"layer": layer, "library_key": library_key, "batch_key": batch_key}
            named = [name for name, value in given.items() if value is not None]
            if named:
                raise ValueError(f"{', '.join(named)} needs an AnnData; data is {type(data).__name__}.")
            x, library, codes = data, None, None
        self._store(x)
        n_cells, _ = self.shape
        library = self._row_sums() if library is None else torch.as_tensor(library, dtype=torch.float32)
        self.library = library.reshape(n_cells, 1).to(self.device)
        codes = torch.zeros(n_cells, dtype=torch.int64) if codes is None else torch.as_tensor(codes)
        self.batch_index = codes.to(self.device)

    def __len__(self) -> int:
        return self.shape[0]

    def minibatch(self, index: Tensor) -> Minibatch:
        """Return the cells with these indices (batch,), on the device, dense."""
        index = index.to(self.device)
        return Minibatch(self._x(index).to(self.dtype), self.library[index].to(self.dtype), self.batch_index[index])

    def chunks(self, size: int = CHUNK):
        """Yield all cells in order, `size` at a time."""
        for index in torch.arange(len(self)).split(size):
            yield self.minibatch(index)

    def check_for(self, model: nn.Module) -> None:
        """Raise a ValueError where these cells do not fit `model`: number of genes, or what its output needs."""
        expected = getattr(model, "n_genes", self.shape[1])
        if self.shape[1] != expected:
            raise ValueError(
                f"data has {self.shape[1]} genes, the model was made for {expected}; use the same genes in the same "
                f"order, or make the model with n_genes={self.shape[1]}."
            )
        if hasattr(model, "check_data"):
            for minibatch in self.chunks():
                model.check_data(minibatch.x)

    def _store(self, x) -> None:
        self._dense = self._csr = None
        if sparse.issparse(x):
            x = x.tocsr()
            if not x.has_canonical_format:  # entries stored twice stand for their sum
                x = x.copy()
                x.sum_duplicates()
            values = torch.as_tensor(x.data, dtype=torch.float32)
            self._csr = tuple(
                part.to(self.device)
                for part in (torch.as_tensor(x.indptr, dtype=torch.int64), torch.as_tensor(x.indices), values)
            )
        else:
            x = x if isinstance(x, Tensor) else np.asarray(x)
            if isinstance(x, Tensor) and x.layout != torch.strided:
                raise ValueError("data is a sparse torch tensor; give a scipy sparse matrix or a dense tensor.")
            if not isinstance(x, Tensor) and not (np.issubdtype(x.dtype, np.number) or x.dtype == bool):
                raise ValueError(f"data has dtype {x.dtype}; a model needs numbers.")
            values = self._dense = torch.as_tensor(x, dtype=torch.float32).detach().to(self.device)
        self.shape = tuple(x.shape)
        if len(self.shape) != 2 or 0 in self.shape:
            raise ValueError(f"data has shape {self.shape}; a model needs (n_cells, n_genes), at least one of each.")
        if not torch.isfinite(values).all():
            n_bad = int((~torch.isfinite(values)).sum())
            raise ValueError(f"data has {n_bad} NaN or infinite values; find and remove them before training.")

    def _rows(self, index: Tensor) -> Tensor:
        """Make the rows `index` of the CSR matrix dense, without leaving the device."""
        indptr, genes, values = self._csr
        start, length = indptr[index], indptr[index + 1] - indptr[index]
        row = torch.repeat_interleave(torch.arange(len(index), device=self.device), length)
        first = torch.repeat_interleave(start - (length.cumsum(0) - length), length)
        entry = first + torch.arange(len(row), device=self.device)
        x = torch.zeros(len(index), self.shape[1], device=self.device)
        x[row, genes[entry].long()] = values[entry]
        return x

    def _row_sums(self) -> Tensor:
        if self._dense is not None:
            return self._dense.sum(1)
        indptr, _, values = self._csr
        running = torch.cat([values.new_zeros(1, dtype=torch.float64), values.double().cumsum(0)])
        return running[indptr].diff().float()  # each row's sum, without making a row dense

    def _x(self, index: Tensor) -> Tensor:
        return self._dense[index] if self._dense is not None else self._rows(index)
