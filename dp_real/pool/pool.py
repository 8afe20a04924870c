"""The pool of generated examples: append-only, one Lance version a round, in memory for training while it fits."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import torch
from lance.fragment import write_fragments
from torch import Tensor

from dp_base.errors import InputError
from dp_real.config.config import PoolConfig
from dp_real.runtime import pixels
from dp_real.runtime.processes import from_main, gather, main_first

FACTS = {
    "row": pa.int64(),  # position in the pool
    "round": pa.int32(),
    "label": pa.int32(),
    "seed": pa.uint64(),  # draws the row's noise again, see dp_real.runtime.seeds.row_noise
    "omega": pa.float32(),
    "entropy": pa.float32(),  # nats, of the learner at the time
    "correct": pa.bool_(),  # whether that learner predicted the label
}
READERS = 8  # threads that fetch and decode the next batches of a pool that is not in memory


class Pool:
    """Examples [*sample_shape] with labels y, int64 [n]. `version` 0 is empty; each append makes the next one."""

    def __init__(
        self, path: Path, sample_shape: tuple[int, ...], version: int = 0, config: PoolConfig | None = None
    ) -> None:
        """Open at a version. Raises InputError if a new pool is to keep what are no images as such."""
        self.path = path
        self.sample_shape = sample_shape
        self.version = 0
        self.config = config or PoolConfig()
        self.newest = 0  # rows of the latest round
        self.y = torch.empty(0, dtype=torch.int64)
        self._kept: Tensor | None = None  # the examples as they are stored, if they are in memory
        if self.config.storage == "jpeg" and (len(sample_shape) != 3 or sample_shape[0] not in (1, 3)):
            raise InputError(f"pool.storage = 'jpeg' keeps images [1 or 3, H, W]; these are {list(sample_shape)}")
        if version:
            self._open(version)

    @classmethod
    def latest(cls, path: Path, sample_shape: tuple[int, ...]) -> "Pool":
        """The pool of a finished run."""
        return cls(path, sample_shape, lance.dataset(str(path)).latest_version)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, *sample_shape]."""
        return (len(self), *self.sample_shape)

    def __getitem__(self, rows: slice) -> Tensor:
        """Examples, float32."""
        return pixels.to_float(self._read(torch.arange(*rows.indices(len(self)))))

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Examples as they are stored, float32 or uint8 (see runtime.pixels), and labels, at positions int64 [B]."""
        return self._read(rows), self.y.index_select(0, rows)

    @property
    def in_memory(self) -> bool:
        return self._kept is not None

    def rows(self, example: pa.Array, **facts: Any) -> pa.Table:
        """Encoded examples [n] for `append`. facts: [n], those of FACTS but `round`."""
        columns = {name: np.asarray(facts[name]) for name in FACTS if name != "round"}
        schema = self._schema()
        schema = schema.remove(schema.get_field_index("round"))
        return pa.table(columns | {"example": example}, schema=schema)

    def append(self, round_index: int, rows: pa.Table) -> None:
        """Commit one round, whole or not at all.

        Each process passes the rows that it has, in ascending order; `row` counts within the round, which all of them
        together make up.
        """
        places = rows["row"].to_numpy()
        mine = rows.set_column(0, "row", pa.array(places + len(self)))
        mine = mine.append_column("round", pa.array(np.full(len(rows), round_index)))
        mine = mine.select(self._schema().names).cast(self._schema())
        gaps = np.flatnonzero(np.diff(places) != 1) + 1  # where rows of other processes come between
        mode, written = "append" if self.version else "create", []
        for begin, end in pairwise([0, *gaps.tolist(), len(rows)] if len(rows) else []):
            files = write_fragments(mine.slice(begin, end - begin), str(self.path), schema=mine.schema, mode=mode)
            written.append((int(places[begin]), files))
        fragments = [file for _, files in sorted(gather(written), key=lambda pair: pair[0]) for file in files]
        with main_first() as main:  # one commits for all
            version = self._commit(fragments) if main else 0
        self._open(from_main(version))

    def drop_later(self) -> None:
        """Forget what was appended after this version: a killed run's unfinished round."""
        with main_first() as main:
            version = self.version
            dataset = lance.dataset(str(self.path), version=version)
            if main and dataset.latest_version > version:
                dataset.restore()
                version = dataset.latest_version
        self._open(from_main(version))

    def table(self, newest: bool = False) -> pa.Table:
        """The FACTS of this version's rows, or of its latest round's."""
        start = len(self) - self.newest if newest else 0
        return self._data.scanner(columns=list(FACTS), offset=start).to_table()

    def _commit(self, fragments: list[Any]) -> int:
        operation = (
            lance.LanceOperation.Append(fragments)
            if self.version
            else lance.LanceOperation.Overwrite(self._schema(), fragments)
        )
        return lance.LanceDataset.commit(str(self.path), operation, read_version=self.version or None).version

    def _open(self, version: int) -> None:
        """Be the pool at this version, which has the rows of the present one and perhaps more."""
        known, self.version = len(self), version
        self._data = lance.dataset(str(self.path), version=version)
        if self._data.count_rows() == known:
            return
        new = self._data.scanner(columns=["round", "label"], offset=known).to_table()
        rounds = new["round"].to_numpy()
        self.newest = int((rounds == rounds[-1]).sum())
        self.y = torch.cat([self.y, torch.from_numpy(new["label"].to_numpy().astype(np.int64))])
        stored = self._data.schema.field("example").type
        size = 0 if pa.types.is_large_binary(stored) else stored.value_type.bit_width // 8
        if size == 0 or size * int(np.prod(self.shape)) > self.config.memory * 2**30:
            self._kept = None
            return
        fresh = self.decode(
            self._data.scanner(columns=["example"], offset=known).to_table()["example"].combine_chunks()
        )
        self._kept = fresh if self._kept is None else torch.cat([self._kept, fresh])

    def _read(self, rows: Tensor) -> Tensor:
        if self._kept is not None:
            return self._kept.index_select(0, rows)  # faster than [rows]
        return self.decode(self._data.take(rows.tolist(), columns=["example"])["example"].combine_chunks())

    def _schema(self) -> pa.Schema:
        size = int(np.prod(self.sample_shape))
        numbers = {"float32": pa.float32(), "uint8": pa.uint8()}.get(self.config.storage)
        return pa.schema(FACTS | {"example": pa.list_(numbers, size) if numbers else pa.large_binary()})

    def encode(self, x: Tensor) -> pa.Array:
        """Examples as they are stored."""
        stored = x if self.config.storage == "float32" or x.dtype == torch.uint8 else pixels.to_bytes(x)
        if self.config.storage == "jpeg":
            return pa.array(pixels.encode(stored, self.config.quality), pa.large_binary())
        return pa.FixedSizeListArray.from_arrays(pa.array(stored.flatten().numpy()), int(np.prod(self.sample_shape)))

    def decode(self, array: pa.Array) -> Tensor:
        """What `encode` made of examples: float32, or bytes."""
        if pa.types.is_large_binary(array.type):
            return pixels.decode(array.to_pylist(), self.sample_shape)
        return torch.from_numpy(array.flatten().to_numpy().copy()).view(-1, *self.sample_shape)


class Loader:
    """A pool's batches, step by step; those that must be read from disk are read ahead in threads."""

    def __init__(self, pool: Pool, rows_at: Callable[[int], Tensor]) -> None:
        """rows_at: the positions int64 [B] that a step trains on, as long as the pool does not grow."""
        self.pool, self.rows_at = pool, rows_at
        self._ahead: dict[tuple[int, int], Future[tuple[Tensor, Tensor]]] = {}  # by step and size of the pool
        self._threads = ThreadPoolExecutor(READERS)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """As Pool.batch."""
        if self.pool.in_memory:
            return self.pool.batch(self.rows_at(step))
        size = len(self.pool)
        wanted = [(later, size) for later in range(step, step + 2 * READERS)]
        known = self._ahead
        self._ahead = {
            key: known.get(key) or self._threads.submit(self.pool.batch, self.rows_at(key[0])) for key in wanted
        }
        return self._ahead.pop(wanted[0]).result()
