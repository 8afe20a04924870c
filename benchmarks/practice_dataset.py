"""The data set of a practice against a TensorDataset of the same samples in a DataLoader, by the wall with workers."""

import tempfile
import time

import torch
from _timing import row, seconds
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from dp_real import Practice

BATCH = 64


def draw(labels: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(1, 3, 8, 8, generator=generator) * 2 - 1


def one_pass(loader: DataLoader) -> None:
    for _ in loader:
        pass


def compare(rows: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        practice = Practice(draw, ["a", "b"], folder, shape=(3, 8, 8), initial=rows, increment=1, candidates=2)
        plain = TensorDataset(practice.pool.x[:], practice.pool.y)
        loaders = [
            DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
            for dataset in (practice.dataset, plain)
        ]
        for loader in loaders:
            one_pass(loader)
        clock = time.perf_counter if workers else time.process_time
        ours, bare = seconds(*(lambda loader=loader: one_pass(loader) for loader in loaders), clock=clock)
        name = f"practice.dataset, {rows:,} rows, {workers} workers"
        row(
            name,
            f"{ours / len(loaders[0]) * 1e6:.0f} µs a batch",
            f"TensorDataset {bare / len(loaders[1]) * 1e6:.0f}",
            bare / ours,
        )


def main() -> None:
    torch.set_num_threads(1)
    for rows in (1_000, 100_000):
        for workers in (0, 2):
            compare(rows, workers)


if __name__ == "__main__":
    main()
