"""The pool of generated examples: append-only, one Lance version a round, mirrored in memory for training."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dp_real.parallel import from_main, main_first


def _schema(sample_shape: tuple[int, ...]) -> pa.Schema:
    size = int(np.prod(sample_shape))
    return pa.schema(
        {
            "row": pa.int64(),  # position in the pool
            "round": pa.int32(),
            "label": pa.int32(),
            "seed": pa.uint64(),  # draws the row's noise again, see dp_real.seeds.row_noise
            "omega": pa.float32(),
            "entropy": pa.float32(),  # nats, of the learner at the time
            "correct": pa.bool_(),  # whether that learner predicted the label
            "example": pa.list_(pa.float32(), size),
        }
    )


class Pool:
    """Examples [*sample_shape] with labels. `version` 0 is empty; each append makes the next one."""

    def __init__(self, path: Path, sample_shape: tuple[int, ...], version: int = 0) -> None:
        """Open at a version."""
        self.path = path
        self.sample_shape = sample_shape
        self.version = version
        self.newest = 0  # rows of the latest round
        self.x = torch.empty(0, *sample_shape)
        self.y = torch.empty(0, dtype=torch.int64)
        if version:
            table = self._dataset().to_table(columns=["round", "label", "example"])
            rounds = table.column("round").to_numpy()
            self.newest = int((rounds == rounds.max()).sum())
            self._mirror(table)

    @classmethod
    def latest(cls, path: Path, sample_shape: tuple[int, ...]) -> "Pool":
        """The pool of a finished run."""
        return cls(path, sample_shape, lance.dataset(str(path)).latest_version)

    def drop_later(self) -> None:
        """Forget what was appended after this version: a killed run's unfinished round."""
        with main_first() as main:
            dataset = self._dataset()
            if main and dataset.latest_version > self.version:
                dataset.restore()
                self.version = dataset.latest_version
        self.version = from_main(self.version)

    def __len__(self) -> int:
        return len(self.y)

    def append(
        self,
        round_index: int,
        x: Tensor,
        y: Tensor,
        seeds: np.ndarray,
        omega: np.ndarray,
        entropy: Tensor,
        correct: Tensor,
    ) -> None:
        """Commit one round, whole or not at all."""
        n = len(y)
        schema = _schema(self.sample_shape)
        flat = pa.array(x.flatten().numpy())
        columns = {
            "row": np.arange(len(self), len(self) + n),
            "round": np.full(n, round_index),
            "label": y.numpy(),
            "seed": seeds,
            "omega": omega,
            "entropy": entropy.float().numpy(),
            "correct": correct.numpy(),
            "example": pa.FixedSizeListArray.from_arrays(flat, schema.field("example").type.list_size),
        }
        batch = pa.table(columns, schema=schema)
        with main_first() as main:  # one writer
            if main:
                mode = "append" if self.version else "create"
                self.version = lance.write_dataset(batch, str(self.path), mode=mode).version
        self.version = from_main(self.version)
        self.newest = n
        self._mirror(batch)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Examples and labels at positions int64 [B]."""
        return self.x[rows], self.y[rows]

    def table(self) -> pa.Table:
        """All columns of this version."""
        return self._dataset().to_table()

    def _dataset(self) -> lance.LanceDataset:
        return lance.dataset(str(self.path), version=self.version)

    def _mirror(self, table: pa.Table) -> None:
        x = table.column("example").combine_chunks().flatten().to_numpy().copy()
        y = table.column("label").to_numpy().astype(np.int64)
        self.x = torch.cat([self.x, torch.from_numpy(x).view(-1, *self.sample_shape)])
        self.y = torch.cat([self.y, torch.from_numpy(y)])
