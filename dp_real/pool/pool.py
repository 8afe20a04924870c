"""The pool of generated examples: append-only, one Lance version per round, in memory for training while it fits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import torch
from lance.fragment import write_fragments
from torch import Tensor
from torch.utils.data import Dataset

from dp_base.errors import MissingError
from dp_real.pool.batch import POSTERIOR, Batch
from dp_real.pool.late import when_visible
from dp_real.pool.record import PoolRecord, drop_unreadable, opening, uri, verify_pool
from dp_real.pool.storage import Storage
from dp_real.runtime import pixels
from dp_real.runtime.processes import from_main, gather, main_first
from dp_real.sections import PoolConfig

FACTS = {
    "row": pa.int64(),  # position in the pool
    "round": pa.int32(),
    "label": pa.int32(),
    "seed": pa.uint64(),  # draws the row's noise again, see dp_real.runtime.seeds.row_noise
    "omega": pa.float32(),
    "entropy": pa.float32(),  # nats, of the learner at the time
    "correct": pa.bool_(),  # whether that learner predicted the label
}


class Pool(Dataset[tuple[Tensor, int]]):
    """Examples x [n, *sample_shape] with labels y, int64 [n]. `version` 0 is empty; each append makes the next one.

    With soft labels, the targets of training are the classes' probabilities, float32 [n, K]; else they are y.

    It is an ExampleSet, and a map-style data set of torch: pool[i] is an example, float32, and its label. Workers of a
    DataLoader open the pool anew. They must be spawned, because Lance does not survive a fork.
    """

    def __init__(
        self, path: Path, sample_shape: tuple[int, ...], version: int = 0, config: PoolConfig | None = None
    ) -> None:
        """Open a pool at a version.

        Raises InputError if `config` asks for JPEG files of what are not images, DamagedError for what cannot be read.
        """
        self.path = path
        self.sample_shape = sample_shape
        self.config = config or PoolConfig()
        self.storage = Storage(self.config, sample_shape)
        self.version = 0
        self.newest = 0  # rows of the latest round
        self.y = torch.empty(0, dtype=torch.int64)
        self.posterior: Tensor | None = None  # float32 [n, K], of a pool with soft labels
        self._kept: Tensor | None = None  # the examples as they are stored, if they are in memory
        if version:
            self._open(version)

    @classmethod
    def latest(cls, path: Path, sample_shape: tuple[int, ...], config: PoolConfig | None = None) -> Pool:
        """Open a pool at its latest version. Raises MissingError if there is none, DamagedError if a file of it is
        missing or changed."""
        version = PoolRecord.read(path).latest
        if version is None:
            raise MissingError(f"{path}: there is no pool")
        verify_pool(path, version)
        return cls(path, sample_shape, version, config)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """An example, float32 [*sample_shape], and its label."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Several at once, as torch's DataLoader asks for a batch. From disk, this is much faster than one by one."""
        rows = torch.arange(len(self))[torch.as_tensor(indices)]  # raises IndexError, and resolves negative indices
        return list(zip(pixels.to_float(self._read(rows)), self.y[rows].tolist(), strict=True))

    def __reduce__(self) -> tuple[type[Pool], tuple[Any, ...]]:
        return type(self), (self.path, self.sample_shape, self.version, self.config)

    @property
    def x(self) -> PoolExamples:
        """The examples, read on demand."""
        return PoolExamples(self)

    def minibatch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Examples at rows int64 [B], float32 or uint8 as they are stored (dp_real.runtime.pixels), and targets."""
        return self._read(rows), (self.y if self.posterior is None else self.posterior).index_select(0, rows)

    @property
    def of_texts(self) -> bool:
        """Whether the examples are texts."""
        return pa.types.is_large_string(self._data.schema.field("example").type)

    @property
    def in_memory(self) -> bool:
        """Whether the examples are in memory. If not, they are read from disk each time."""
        return self._kept is not None

    def append(self, round_index: int, batch: Batch) -> None:
        """Commit one round, whole or not at all. All processes call it.

        Each process passes its own rows, in ascending order. `row` counts within the round, over all processes.
        """
        columns = {name: getattr(batch, name) for name in FACTS if name != "round"}
        columns |= {"row": batch.row + len(self), "round": np.full(len(batch), round_index), "example": batch.example}
        columns |= {} if batch.posterior is None else {"posterior": batch.posterior}
        mine = pa.table(columns).select(self._schema().names).cast(self._schema())
        gaps = np.flatnonzero(np.diff(batch.row) != 1) + 1  # where rows of other processes come between
        mode, written = "append" if self.version else "create", []
        for begin, end in pairwise([0, *gaps.tolist(), len(batch)] if len(batch) else []):
            files = write_fragments(mine.slice(begin, end - begin), uri(self.path), schema=mine.schema, mode=mode)
            written.append((int(batch.row[begin]), files))
        fragments = [file for _, files in sorted(gather(written), key=lambda pair: pair[0]) for file in files]
        with main_first() as main:  # one commits for all
            version = self._commit(fragments) if main else 0
            if main:
                when_visible(lambda: PoolRecord.read(self.path).add(self.path, version), self.path)
        self._open(from_main(version))

    def drop_later(self) -> None:
        """Drop what was appended after this version, by a run that was killed before its checkpoint."""
        with main_first() as main:
            version = self.version
            if main:
                drop_unreadable(self.path, version)
            dataset = lance.dataset(uri(self.path), version=version)
            if main:
                record = PoolRecord.read(self.path)
                if dataset.latest_version > version:
                    dataset.restore()
                    version = dataset.latest_version
                    record.add(self.path, version)
                record.drop_strays(self.path)
        self._open(from_main(version))

    def table(self, newest: bool = False) -> pa.Table:
        """The FACTS of all rows, and `posterior` with soft labels; or with `newest` of the latest round's rows."""
        start = len(self) - self.newest if newest else 0
        return self._data.scanner(columns=[*FACTS, *self.soft], offset=start).to_table()

    def _commit(self, fragments: list[Any]) -> int:
        operation = (
            lance.LanceOperation.Append(fragments)
            if self.version
            else lance.LanceOperation.Overwrite(self._schema(), fragments)
        )
        return lance.LanceDataset.commit(uri(self.path), operation, read_version=self.version or None).version

    def _open(self, version: int) -> None:
        """Move to a version that has the present rows and perhaps more. Another process may just have written it."""
        when_visible(lambda: self._move(version), self.path)

    def _move(self, version: int) -> None:
        with opening(self.path):
            self._data = lance.dataset(uri(self.path), version=version)
            self._read_new(len(self))
        self.version = version

    def _read_new(self, known: int) -> None:
        """Read the rows after the first `known` ones."""
        if self._data.count_rows() == known:
            return
        new = self._data.scanner(columns=["round", "label", *self.soft], offset=known).to_table()
        rounds = new["round"].to_numpy()
        kept = None
        if self.storage.fits(self._data.schema.field("example").type, known + len(new)):
            column = self._data.scanner(columns=["example"], offset=known).to_table()["example"]
            fresh = self.storage.decode(column.combine_chunks())
            kept = fresh if self._kept is None else torch.cat([self._kept, fresh])
        posterior = [] if self.posterior is None else [self.posterior]
        flat = [new[name].combine_chunks().flatten().to_numpy() for name in self.soft]
        posterior += [torch.tensor(values).view(len(new), -1) for values in flat]
        self._kept = kept  # what follows cannot fail, so all rows are there or none
        self.posterior = torch.cat(posterior) if posterior else None
        self.newest = int((rounds == rounds[-1]).sum())
        self.y = torch.cat([self.y, torch.from_numpy(new["label"].to_numpy().astype(np.int64))])

    def _read(self, rows: Tensor) -> Tensor:
        if self._kept is not None:
            return self._kept.index_select(0, rows)  # faster than [rows]
        with opening(self.path):
            return self.storage.decode(self._data.take(rows.tolist(), columns=["example"])["example"].combine_chunks())

    @property
    def soft(self) -> list[str]:
        """The name of the column of soft labels, if the pool has one."""
        return [name for name in self._data.schema.names if name == "posterior"]

    def _schema(self) -> pa.Schema:
        soft = {"posterior": POSTERIOR} if self.config.soft_labels else {}
        return pa.schema(FACTS | {"example": self.storage.type} | soft)


class PoolExamples:
    """A pool's examples as an ExampleArray, float32."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, *sample_shape]."""
        return (len(self._pool), *self._pool.sample_shape)

    def __getitem__(self, rows: slice) -> Tensor:
        """Consecutive examples."""
        return pixels.to_float(self._pool.minibatch(torch.arange(*rows.indices(len(self._pool))))[0])
