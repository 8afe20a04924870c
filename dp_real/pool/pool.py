"""The pool of generated examples. It only grows, by a folder for each round, and is in memory if it fits.

POOL/round-0003 has the rows of round 3, in Arrow files that `datasets` opens as they lie (`Dataset.from_file`), and
their checksums. The folder appears whole, once all processes have written. A pool's version is its number of rounds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.utils.data import Dataset

from dp_base.checksums import RECORD, damage, seal
from dp_base.errors import DamagedError, InputError, MissingError
from dp_base.files import remove
from dp_real.distributed import on_main, this_process, wait_for_all, when_visible
from dp_real.pool.batch import Batch, features, read_table
from dp_real.pool.storages import Storage, open_storage, storage_of
from dp_real.runtime import pixels
from dp_real.sections import PoolConfig

MEMORY = 8 * 2**30  # bytes that a pool takes at most
FORMAT = 2  # of a pool's folder; 1 was Lance's
REMEDY = "restore the file, or go back to an earlier checkpoint: dp real resume does, if the run is not complete"
FACTS = ("row", "round", "label", "seed", "omega", "entropy", "correct")
"""The columns of the pool that every row has, beside the example; see dp_real.pool.batch."""

_verified: dict[Path, tuple[object, ...]] = {}  # round folders that this process has read, as they were then


class Pool(Dataset[tuple[Tensor, int]]):
    """Examples x [n, *sample_shape] with labels y, int64 [n].

    With soft labels, training's targets are the probabilities of the classes, float32 [n, K]. Otherwise they are y. The
    pool is an ExampleSet, and a map-style data set of torch: pool[i] is an example, float32, and its label.

    Parameters
    ----------
    path, sample_shape
        The folder of the pool, and the shape of an example.
    version
        How many of its rounds to open.
    config
        The section [pool].
    classes
        Their names, for those who open the files.
    memory
        Bytes. A larger pool, and every one of JPEGs, is read from disk each time.

    Raises
    ------
    InputError
        If `config` asks for a storage that is not made for such examples, or the pool is of an earlier format.
    DamagedError
        If the pool cannot be read.

    Examples
    --------
    >>> pool = Pool(folder / "pool", (1, 8, 8))  # doctest: +SKIP
    >>> pool.append(0, batch)  # doctest: +SKIP
    >>> x, targets = pool.minibatch(torch.tensor([3, 0]))  # doctest: +SKIP
    """

    def __init__(
        self,
        path: Path,
        sample_shape: tuple[int, ...],
        version: int = 0,
        config: PoolConfig | None = None,
        classes: Sequence[str] = (),
        memory: float = MEMORY,
    ) -> None:
        self.path = path
        self.sample_shape = sample_shape
        self.config = config or PoolConfig()
        self.memory = memory
        self.storage = open_storage(self.config.storage, sample_shape)  # of rows that are appended
        self.metadata = features(self.storage.feature, classes, self.config.soft_labels)
        self.version = 0
        self.newest = 0  # number of rows of the latest round
        self.y = torch.empty(0, dtype=torch.int64)
        self.posterior: Tensor | None = None  # float32 [n, K], of a pool with soft labels
        self._chunks: list[pa.Array] = []  # of examples, memory-mapped
        self._place = np.empty((0, 2), np.int64)  # of each row: its chunk, and where it is there
        self._facts: list[pa.Table] = []  # of each round, in order of the rows
        self._kept: Tensor | None = None  # the examples as they are stored, if they are in memory
        for index in range(version):
            self._open(index)

    @classmethod
    def latest(cls, path: Path, sample_shape: tuple[int, ...], memory: float = MEMORY) -> Self:
        """Open a pool at its latest version.

        Raises MissingError if there is none, DamagedError if a file of it is missing or changed.
        """
        version = latest_version(path)
        if not version:
            raise MissingError(f"{path}: there is no pool")
        verify_pool(path, version)
        return cls(path, sample_shape, version, memory=memory)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """As torch's DataLoader asks for them."""
        rows = torch.arange(len(self))[torch.as_tensor(indices)]  # raises IndexError, and resolves negative indices
        return list(zip(pixels.to_float(self._read(rows)), self.y[rows].tolist(), strict=True))

    def __reduce__(self) -> tuple[type[Pool], tuple[Any, ...]]:
        return type(self), (self.path, self.sample_shape, self.version, self.config, (), self.memory)

    @property
    def x(self) -> PoolExamples:
        """The examples, read on demand."""
        return PoolExamples(self)

    def minibatch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Shaped[Tensor, "batch *sample"], Shaped[Tensor, "batch *targets"]]:
        """Examples to train on, float32 or uint8 as they are stored, and their targets."""
        targets = self.y if self.posterior is None else self.posterior
        return self._read(rows), targets.index_select(0, rows)

    @property
    def stored(self) -> Storage:
        """The storage by which the examples were written."""
        return storage_of(self._chunks[0].type, self.sample_shape)

    @property
    def in_memory(self) -> bool:
        """Whether the examples are in memory. If not, they are read from disk each time."""
        return self._kept is not None

    @property
    def soft(self) -> list[str]:
        """The name of the column of soft labels, if the pool has one."""
        return [] if self.posterior is None else ["posterior"]

    def append(self, round_index: int, batch: Batch, files: Sequence[Path] = ()) -> None:
        """Commit one round, whole or not at all. All processes call this.

        batch: the rows of this process; their `row` counts within the round, over all processes. files: where just
        these rows lie already, written with the pool's `metadata`; they are linked and not written again.
        """
        name, rank = f"round-{round_index:04d}", this_process().process_index
        staged, folder = self.path / f".{name}", self.path / name

        def begin() -> None:
            remove(staged)
            staged.mkdir(parents=True)

        def commit() -> None:
            when_visible(lambda: seal(staged))
            staged.rename(folder)

        on_main(begin)
        for number, file in enumerate(files):
            _link(file, staged / f"{rank:04d}-{number:06d}.arrow")
        if not files:
            batch.write(staged / f"{rank:04d}.arrow", self.metadata)
        wait_for_all()
        on_main(commit)
        self._open(round_index)

    def drop_later(self) -> None:
        """Drop what a run appended after this version before it was killed. All processes call this."""

        def drop() -> None:
            for folder in (*rounds_of(self.path)[self.version :], *self.path.glob(".round-*")):
                remove(folder)

        on_main(drop)

    def table(self, newest: bool = False) -> pa.Table:
        """The columns FACTS, and `posterior` with soft labels, of all rows or of the latest round's."""
        return pa.concat_tables(self._facts[-1:] if newest else self._facts)

    def _open(self, index: int) -> None:
        """Map a round that another process may just have written."""
        when_visible(lambda: self._map(index))

    def _map(self, index: int) -> None:
        """Nothing changes if the round cannot be read."""
        folder = self.path / f"round-{index:04d}"
        with opening(folder):
            table = read_round(folder)
            order = np.argsort(table["row"].to_numpy())
            facts = table.select([*FACTS, *(["posterior"] if "posterior" in table.column_names else [])]).take(order)
            facts = facts.set_column(0, "row", pa.array(np.arange(len(self), len(self) + len(facts))))
        chunks = table["example"].chunks
        lengths = [len(chunk) for chunk in chunks]
        within = np.concatenate([np.arange(length) for length in lengths])
        place = np.stack([np.repeat(np.arange(len(chunks)) + len(self._chunks), lengths), within], axis=1)
        self._chunks += chunks
        self._place = np.concatenate([self._place, place[order]])
        self._facts.append(facts)
        self.newest = len(facts)
        self.y = torch.cat([self.y, torch.from_numpy(facts["label"].to_numpy().astype(np.int64))])
        if "posterior" in facts.column_names:
            new = torch.tensor(facts["posterior"].combine_chunks().flatten().to_numpy()).view(len(facts), -1)
            self.posterior = new if self.posterior is None else torch.cat([self.posterior, new])
        kept, self._kept = self._kept, None
        if 0 < self.stored.value_bytes * len(self) * self.stored.size <= self.memory:
            first = 0 if kept is None else len(kept)
            new = self._read(torch.arange(first, len(self)))
            self._kept = new if kept is None else torch.cat([kept, new])
        self.version = index + 1

    def _read(self, rows: Tensor) -> Tensor:
        if self._kept is not None:
            return self._kept.index_select(0, rows)  # faster than [rows]
        with opening(self.path):
            cells = [self._chunks[chunk].slice(at, 1) for chunk, at in self._place[rows.numpy()].tolist()]
            return self.stored.decode(pa.concat_arrays(cells or [self._chunks[0][:0]]))


class PoolExamples:
    """A pool's examples as an ExampleArray: float32, or integers if they are codes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, *sample_shape]."""
        return (len(self._pool), *self._pool.sample_shape)

    def __getitem__(self, rows: slice) -> Shaped[Tensor, "rows *sample"]:
        return pixels.to_float(self._pool.minibatch(torch.arange(*rows.indices(len(self._pool))))[0])


def rounds_of(pool: Path) -> list[Path]:
    """The folders of a pool's rounds, in order."""
    return sorted(pool.glob("round-*"))


def read_round(folder: Path) -> pa.Table:
    """A round's rows, memory-mapped, file after file."""
    return pa.concat_tables([read_table(file) for file in sorted(folder.glob("*.arrow"))])


def latest_version(pool: Path) -> int:
    """The number of rounds; InputError for a pool of an earlier format."""
    if (pool / "_versions").exists():
        raise InputError(f"{pool} is a pool of format 1: this version reads {FORMAT}; export it with version 0.2.0")
    return len(rounds_of(pool))


def recorded_rows(pool: Path, version: int) -> int:
    """How many rows the first rounds have."""
    with opening(pool):
        return sum(len(read_round(folder)) for folder in rounds_of(pool)[:version])


def pool_problem(pool: Path, version: int | None = None) -> str | None:
    """What is wrong with the first rounds of a pool, or all; a round is read once unless it was touched."""
    there = latest_version(pool)
    for index in range(there if version is None else version):
        folder = pool / f"round-{index:04d}"
        if not (folder / RECORD).is_file():
            return f"{folder if not folder.is_dir() else folder / RECORD} is missing"
        stamp = tuple((file.name, *_stamp(file)) for file in sorted(folder.iterdir()))
        if _verified.get(folder.absolute()) != stamp:
            if problem := damage(folder):
                return problem
            _verified[folder.absolute()] = stamp
    return None


def _stamp(file: Path) -> tuple[int, ...]:
    seen = file.stat()
    return (seen.st_ino, seen.st_size, seen.st_mtime_ns)


def verify_pool(pool: Path, version: int) -> None:
    """Raise DamagedError if a file of the first rounds is missing or changed."""
    if problem := pool_problem(pool, version):
        raise DamagedError(problem, REMEDY)


@contextmanager
def opening(where: Path) -> Iterator[None]:
    """Raise DamagedError, which names the place, in place of Arrow's errors."""
    try:
        yield
    except (InputError, MissingError):
        raise
    except Exception as error:
        raise DamagedError(f"{where} cannot be read: {' '.join(str(error).split())[:200]}", REMEDY) from error


def _link(file: Path, to: Path) -> None:
    """Give a file a second name, or copy it where the file system has no links."""
    try:
        os.link(file, to)
    except OSError:
        shutil.copyfile(file, to)
