"""Training: one loop for every model of the book.

`fit` knows a model by ``model.loss(minibatch, kl_weight)`` alone. The plain loop that it stands for is written out in
chapter 1.
"""

import warnings
from dataclasses import dataclass, field
from numbers import Real

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from course_lib.arguments import switched_on, whole
from course_lib.minibatches import CHUNK, Cells, pick_device
from course_lib.models.base import local_seed
from course_lib.preprocess import held_out_size


@dataclass
class History:
    """What happened in training, one record per epoch.

    Attributes
    ----------
    unit
        Unit of every value, such as ``"squared error per cell"``.
    records
        One dict per finished epoch: ``train_loss``, ``train_reconstruction``, ``train_kl`` and, with validation cells,
        the same with ``validation_``. Training values are averages over the epoch's minibatches, while weights
        change and dropout is on; validation values are computed after the epoch, in ``eval`` mode. ``kl_weight`` is the
        weight of the KL in that epoch's ``train_loss``; ``validation_loss`` has the final one in every epoch.
    validation_cells
        Indices of the cells held out.
    stopped
        None after a full run; ``"interrupted"`` or ``"diverged"`` otherwise. The model keeps the weights it had then.
    """

    unit: str
    validation_cells: np.ndarray
    records: list[dict[str, float]] = field(default_factory=list)
    stopped: str | None = None

    def table(self) -> pd.DataFrame:
        """Return the records as a table with one row per epoch, counted from 1."""
        return pd.DataFrame(self.records, index=pd.RangeIndex(1, len(self.records) + 1, name="epoch"))


def fit(
    model: nn.Module,
    data,
    *,
    n_epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    schedule: str = "constant",
    kl_weight: float = 1.0,
    kl_warmup: int = 0,
    validation: float = 0.1,
    layer: str | None = None,
    library_key: str | None = None,
    batch_key: str | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    compiled: bool = False,
    progress: bool = True,
) -> History:
    """Train `model` in place with Adam and return its history.

    Parameters
    ----------
    model
        A module with ``loss(minibatch, kl_weight) -> Loss``. It ends on `device`, in ``eval`` mode. Minibatches come
        in the precision of its weights: after ``model.double()`` results are the same to many digits on any processor.
    data
        AnnData, or a tensor, array or scipy sparse matrix (n_cells, n_genes). Sparse data are
        never made dense as a whole.
    n_epochs
        Times that each training cell is seen.
    batch_size
        Cells per minibatch. The last minibatch of an epoch may be smaller.
    lr
        Adam's learning rate.
    schedule
        ``"constant"``, or ``"cosine"``: from `lr` down to 0 over the epochs.
    kl_weight, kl_warmup
        Weight of the KL in the loss, and the number of epochs over which it rises to that from 0, in equal steps: the
        first epoch has weight 0, epoch ``kl_warmup + 1`` the full one. A longer training than `kl_warmup` is needed to
        get there. The validation loss is computed at `kl_weight` throughout, so that epochs compare.
    validation
        Fraction of cells held out to measure the loss on; 0 holds out none.
    layer, library_key, batch_key
        For AnnData: the layer that the model sees (None: ``X``), and the columns of ``obs`` with library sizes (None:
        the row sums of ``X``) and experimental batches (None: one batch).
    seed
        Seed of the held-out choice, the order of cells, dropout and sampling. torch's global state is left alone.
    device
        ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``.
    compiled
        Whether to compile the loss with ``torch.compile``: faster steps, after a wait of up to a minute. It pays on
        long trainings.
    progress
        Show a bar over epochs.

    Returns
    -------
    History
        Losses per epoch. Stop the cell (keyboard interrupt) and you get the history and the model as they are.

    Raises
    ------
    ValueError
        For data that a model cannot take (see :class:`~course_lib.minibatches.Cells`), data that do not fit this model,
        or settings out of range.
    """
    n_epochs, batch_size = whole("n_epochs", n_epochs, 1), whole("batch_size", batch_size, 1)
    kl_warmup = whole("kl_warmup", kl_warmup, 0)
    _check_settings(lr, schedule, kl_weight, validation)
    device = pick_device(device)
    cells = Cells(data, layer, library_key, batch_key, device, next(model.parameters()).dtype)
    if len(cells) < 2:
        raise ValueError(f"data has {len(cells)} cell; training needs at least 2.")
    cells.check_for(model)
    cells.match_batches(model)

    generator = torch.Generator().manual_seed(seed)
    train, held_out = torch.arange(len(cells)), torch.arange(0)
    if validation:
        n_held_out = held_out_size(validation, len(cells))
        held_out, train = torch.randperm(len(cells), generator=generator).split([n_held_out, len(cells) - n_held_out])
    history = History(getattr(model, "loss_unit", "loss per cell"), held_out.numpy())

    model.to(device)
    if hasattr(model, "initialise"):
        model.initialise((cells.minibatch(part) for part in train.split(CHUNK)), cells.gene_names, cells.batch_names)
    groups = model.parameter_groups(lr) if hasattr(model, "parameter_groups") else model.parameters()
    optimizer = torch.optim.Adam(groups, lr=lr, fused=True)  # fused: the same steps, a third faster
    loss_of = torch.compile(model.loss) if compiled else model.loss
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs) if schedule == "cosine" else None
    quiet = not progress or switched_on("TQDM_DISABLE")  # asked here: tqdm's notebook bar does not look
    bar = tqdm(range(n_epochs), desc="fit", unit="epoch", disable=quiet)
    with local_seed(seed, device), bar:
        try:
            for epoch in bar:
                model.train()
                shuffled = train[torch.randperm(len(train), generator=generator)]
                weight = kl_weight * min(1.0, epoch / kl_warmup) if kl_warmup else kl_weight
                record = _averages("train", _train_epoch(loss_of, optimizer, cells, shuffled.split(batch_size), weight))
                if len(held_out):
                    record |= _averages("validation", evaluate(model, cells, held_out, kl_weight))
                record["kl_weight"] = weight
                if not np.isfinite(list(record.values())).all():
                    history.stopped = "diverged"
                    break
                history.records.append(record)
                bar.set_postfix(loss=f"{record['train_loss']:.4g}")
                if decay:
                    decay.step()
        except KeyboardInterrupt:
            history.stopped = "interrupted"
        finally:
            model.eval()
    if history.stopped == "diverged":
        warnings.warn(
            f"the loss was not finite in epoch {len(history.records) + 1}, so training stopped. Look at the scale "
            "of the data (log-normalised?) or lower lr.",
            stacklevel=2,
        )
    return history


def evaluate(model: nn.Module, cells: Cells, index: torch.Tensor, kl_weight: float = 1.0) -> torch.Tensor:
    """Return the mean loss, reconstruction and KL (3,) of the cells `index`, in ``eval`` mode, without gradients."""
    model.eval()
    with torch.inference_mode():
        return _mean_terms((model.loss(cells.minibatch(part), kl_weight), len(part)) for part in index.split(1024))


def _train_epoch(loss_of, optimizer, cells: Cells, batches, kl_weight: float) -> torch.Tensor:
    def steps():
        for index in batches:
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(cells.minibatch(index), kl_weight)
            loss.loss.backward()
            optimizer.step()
            yield loss, len(index)

    return _mean_terms(steps())


def _mean_terms(losses) -> torch.Tensor:
    """Average (loss, reconstruction, KL) over cells; sums stay on the device, so that a GPU is not kept waiting."""
    total, n_cells = 0.0, 0
    for loss, n in losses:
        terms = torch.stack([loss.loss, loss.reconstruction.mean(), loss.kl.mean()]).detach()
        total, n_cells = total + n * terms, n_cells + n
    return total / n_cells


def _averages(prefix: str, terms: torch.Tensor) -> dict[str, float]:
    names = (f"{prefix}_loss", f"{prefix}_reconstruction", f"{prefix}_kl")
    return dict(zip(names, terms.tolist(), strict=True))


def _check_settings(lr: float, schedule: str, kl_weight: float, validation: float) -> None:
    if not (isinstance(lr, Real) and np.isfinite(lr) and lr > 0):
        raise ValueError(f"lr is {lr!r}; a learning rate is a finite number above 0 (1e-3 is usual for Adam).")
    if schedule not in ("constant", "cosine"):
        raise ValueError(f'schedule is {schedule!r}; choose "constant" or "cosine".')
    if not (isinstance(kl_weight, Real) and 0 <= kl_weight < float("inf")):
        raise ValueError(f"kl_weight is {kl_weight!r}; the weight of the KL is a finite number ≥ 0 (1 for the ELBO).")
    if not 0 <= validation < 1:
        raise ValueError(f"validation is {validation}; it is the fraction of cells held out, 0 ≤ validation < 1.")
