"""Cells as tensors: the door through which AnnData, arrays and tensors reach a model."""

import anndata as ad
import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from course_lib import preprocess
from course_lib.arguments import listed
from course_lib.counts import check_whole_counts
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
        self.device, self.dtype = torch.device(device), dtype
        self.gene_names, self.batch_names, self._library_given = None, None, library_key is not None
        if isinstance(data, ad.AnnData):
            self.gene_names = [str(name) for name in data.var_names]
            x = preprocess.matrix(data, layer)
            library = preprocess.library_size(data, library_key=library_key)
            codes = np.zeros(data.n_obs, dtype=np.int64)
            if batch_key is not None:
                batch = preprocess.obs_column(data, batch_key).astype("category").cat.remove_unused_categories()
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
        """Raise a ValueError where these cells do not fit `model`: genes, or what its output needs.

        For a model of counts (``takes_counts``), values are whole numbers ≥ 0, no cell is empty, and library sizes that
        no column gave are the row sums of what the model sees, so that they fit a layer of counts too.
        """
        expected, names = getattr(model, "n_genes", self.shape[1]), getattr(model, "gene_names", None)
        if self.shape[1] != expected:
            way_out = f"or make the model with n_genes={self.shape[1]}" if not names else "adata[:, model.gene_names]"
            raise ValueError(
                f"data has {self.shape[1]} genes, the model was made for {expected}; use the same genes in the same "
                f"order, {way_out}."
            )
        if names and self.gene_names:
            _check_gene_names(self.gene_names, names)
        if getattr(model, "takes_counts", False):
            for part in self._values().flatten().split(CHUNK**2):
                check_whole_counts(part.cpu().numpy(), "data")
            sums = self._row_sums().reshape(-1, 1)
            if not sums.all():
                raise ValueError(
                    f"data has {int((sums == 0).sum())} cell(s) without a single count; remove them with "
                    "adata = preprocess.drop_empty(adata)."
                )
            self.library = self.library if self._library_given else sums
        if hasattr(model, "check_data"):
            for minibatch in self.chunks():
                model.check_data(minibatch.x)

    def match_batches(self, model: nn.Module) -> None:
        """Number the batches as `model` does; raise a ValueError for a batch that it does not know, or none given."""
        n_batches = getattr(model, "n_batches", None)
        if n_batches is None:
            return
        names, known = [str(name) for name in self.batch_names or ()], getattr(model, "batch_names", None)
        if n_batches > 1 and not names:
            raise ValueError(
                f"the model has n_batches={n_batches} and the data came without; give an AnnData, and as batch_key the "
                f"column of obs that names each cell's batch{f' ({listed(known)})' if known else ''}."
            )
        if names and known is None and len(names) != n_batches:
            raise ValueError(
                f"batch_key names {len(names)} batches ({listed(names)}), the model was made for {n_batches}; "
                f"make it with n_batches={len(names)}, or choose another column."
            )
        if names and known is not None:
            unseen = [name for name in names if name not in known]
            if unseen:
                raise ValueError(
                    f"the batch(es) {listed(unseen)} were not in the training data (they were {listed(known)}); "
                    "leave those cells out, or train with them."
                )
            codes = torch.tensor([known.index(name) for name in names], device=self.device)
            self.batch_index = codes[self.batch_index]

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

    def _rows_one_by_one(self, index: Tensor) -> Tensor:
        """Make the rows `index` of the CSR matrix dense; on a CPU three times faster than all at once."""
        indptr, genes, values = (part.numpy() for part in self._csr)
        dense = np.zeros((len(index), self.shape[1]), dtype=np.float32)
        for row, n in zip(dense, index.tolist(), strict=True):
            entries = slice(indptr[n], indptr[n + 1])
            row[genes[entries]] = values[entries]
        return torch.from_numpy(dense)

    def _rows_at_once(self, index: Tensor) -> Tensor:
        """The same without leaving the device."""
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
        sums = []
        for first in range(0, len(self), CHUNK):  # no row is made dense, and what is needed beside the matrix is small
            bounds = indptr[first : first + CHUNK + 1]
            running = values[bounds[0] : bounds[-1]].double().cumsum(0)
            sums.append(torch.cat([running.new_zeros(1), running])[bounds - bounds[0]].diff())
        return torch.cat(sums).float()

    def _values(self) -> Tensor:
        """What is stored: every entry of a dense matrix, those of a sparse one that are written down."""
        return self._dense if self._dense is not None else self._csr[2]

    def _x(self, index: Tensor) -> Tensor:
        if self._dense is not None:
            return self._dense[index]
        return self._rows_one_by_one(index) if self.device.type == "cpu" else self._rows_at_once(index)


def _check_gene_names(names: list[str], expected: list[str]) -> None:
    if names == expected:
        return
    missing = [name for name in expected if name not in set(names)]
    what = f"lacks {len(missing)} of the model's genes ({listed(missing)})" if missing else "has them in another order"
    raise ValueError(
        f"data has as many genes as the model was trained on, and {what}; give the same genes in the same order: "
        "adata = adata[:, model.gene_names]."
    )
