"""Print ratios of speed, interleaved in one run, and errors. Run as ``make bench``; nothing here is asserted."""

import statistics
import time

import scipy.sparse
import torch
from torch.utils.data import DataLoader, TensorDataset

from course_lib.minibatches import Cells
from course_lib.models import GeneExprAE, Minibatch
from tools import bench_counts

N_CELLS, N_GENES, BATCH, ROUNDS = 5400, 1000, 128, 5


def main() -> None:
    """Compare an epoch of minibatches, and of training steps, against torch's DataLoader."""
    x = torch.randn(N_CELLS, N_GENES, generator=torch.Generator().manual_seed(0))
    counts = torch.poisson(torch.full((N_CELLS, N_GENES), 0.1), generator=torch.Generator().manual_seed(0))
    dense, sparse = Cells(x), Cells(scipy.sparse.csr_matrix(counts.numpy()))
    loader = DataLoader(TensorDataset(x), batch_size=BATCH, shuffle=True)

    def ours(cells):
        for index in torch.randperm(N_CELLS).split(BATCH):
            yield cells.minibatch(index)

    def theirs():
        for (rows,) in loader:
            yield Minibatch(rows, None, None)

    ways = {"fit, dense": lambda: ours(dense), "fit, sparse": lambda: ours(sparse), "DataLoader": theirs}
    print(f"one epoch of {N_CELLS} cells × {N_GENES} genes, median of {ROUNDS} interleaved rounds")
    for what, work in (("minibatches alone", lambda _: None), ("with training steps", stepper())):
        seconds = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, minibatches in ways.items():
                start = time.perf_counter()
                for minibatch in minibatches():
                    work(minibatch)
                seconds[name].append(time.perf_counter() - start)
        base = statistics.median(seconds["DataLoader"])
        for name, values in seconds.items():
            middle = statistics.median(values)
            print(f"{what:20s} {name:12s} {1000 * middle:7.0f} ms   {base / middle:5.2f} × DataLoader")


def stepper():
    """Return a function that takes one training step of GeneExprAE."""
    model = GeneExprAE(N_GENES, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step(minibatch: Minibatch) -> None:
        optimizer.zero_grad(set_to_none=True)
        model.loss(minibatch).loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
    bench_counts.main()
