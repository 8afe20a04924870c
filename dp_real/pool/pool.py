"""The pool of generated examples. It only grows, by one folder for each round, and is in memory if it fits.

POOL/round-0003 has round 3's rows in Arrow files, which `datasets` opens in place (`Dataset.from_file`). It appears
whole, once all processes have written. A pool's version is its number of rounds.
"""

import errno
import json
import operator
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, SupportsIndex

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.utils.data import Dataset

from dp_base.checksums import RECORD, cached_digests, damage, digest_cache, json_digest, seal
from dp_base.errors import DamagedError, InputError, MissingError
from dp_base.files import atomic_file, atomic_folder, remove
from dp_base.locks import locked_beside
from dp_base.reading import own_file
from dp_real.pool.section import PoolConfig
from dp_real.pool.storages import NUMBERS_FEATURE, open_storage, storage_of
from dp_real.runtime import pixels
from dp_real.runtime.distributed import gather, on_main, own_share, this_process, when_visible

MEMORY = 8 * 2**30  # bytes of a pool in memory at most
FORMAT = 3  # format number of a block
REMEDY = "restore the file, go back to an earlier checkpoint (dp real resume does, of an unfinished run), or begin anew"
BLOCK = "rows.arrow"  # file in a block's folder
TOGETHER = 1024  # rows of an Arrow batch
JOINED = 2**30  # about the bytes of a file of joined blocks
MAX_LEFT = 10_000  # blocks that are not joined yet; Linux lets a process map 65,530 files
SHAPE = b"shape"  # of examples, a key of the files' metadata
REAL_SEED = 0  # of real examples, which have no noise
COLUMNS = {
    "row": "int64",  # position in the round; once read, in the pool
    "round": "int32",
    "label": "int64",
    "seed": "uint64",  # draws the row's noise again (dp_real.runtime.seeds.row_noise)
    "omega": "float32",  # guidance strength
    "entropy": "float32",  # nats, of the learner at the time
    "correct": "bool",  # whether that learner predicted the label
    "draws": "int64",  # samples generated for this row
    "redrawn": "int64",  # those of them that were useless: not finite, or of one value
    "seconds": "float64",  # of drawing and assessing the row; a block's are shared evenly
    "flops": "int64",  # of drawing, for the first block of a round; 0: not counted
}
"""Columns besides `example`, which is of the storage's type, and with soft labels `posterior`, float32 [K]."""
FACTS = ("row", "round", "label", "seed", "omega", "entropy", "correct", "posterior")
"""The columns that are in memory, if they exist."""


def write_rows(file: Path, rows: pa.Table) -> None:
    """Write an Arrow file, whole or not at all."""
    with atomic_file(file) as partial, pa.ipc.new_stream(str(partial), rows.schema) as writer:
        writer.write_table(rows, max_chunksize=TOGETHER)


def read_rows(file: Path) -> pa.Table:
    """An Arrow file, memory-mapped. MissingError if the process cannot map more files."""
    try:
        return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
    except OSError as error:
        if os.strerror(errno.ENOMEM) not in str(error):  # Arrow gives no number
            raise
        remedy = "raise the system's vm.max_map_count, or the limit of `ulimit -v`"
        raise MissingError(f"{file}: this process cannot map any more files: {remedy}") from error


def cache_block(folder: Path, rows: pa.Table) -> pa.Table:
    """Write rows to folder/BLOCK, seal the folder, and return the file memory-mapped."""
    with atomic_folder(folder, replace=True) as staged:
        write_rows(staged / BLOCK, rows)
        seal(staged, read=cached_digests)
    return read_rows(folder / BLOCK)


def cached_block(folder: Path, numbers: slice) -> pa.Table | None:
    """The rows with these numbers in a folder; None if it is missing or damaged."""
    if damage(folder, read=cached_digests):
        return None
    rows = read_rows(folder / BLOCK)
    begin, end = np.searchsorted(rows["row"].to_numpy(), [numbers.start, numbers.stop])
    return rows.slice(begin, end - begin)


def shared_block(
    folder: Path, labels: Tensor, seeds: Sequence[np.ndarray], numbers: slice, draw: Callable[[], pa.Table]
) -> pa.Table:
    """A block's rows by another run, for which it waits, or draw() for all. A row's rounding depends on its block."""
    name = json_digest([labels.tolist(), *(each.tolist() for each in seeds)])
    file = folder / name[:2] / name  # small folders, since a lock lists its folder
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked_beside(file, wait=True):
        return cached_block(file, numbers) or cache_block(file, draw())


class Blocks:
    """A process's blocks of a round, in order. They are joined into larger files, and become links to these."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        self.tables: list[pa.Table] = []  # rows of each file
        self._left: list[tuple[Path, pa.Table]] = []
        self._size = 0

    def add(self, folder: Path, rows: pa.Table) -> None:
        """Add the block in `folder`."""
        self._left.append((folder, rows))
        self._size += max(rows.nbytes, JOINED // MAX_LEFT)
        if self._size >= JOINED:
            self.join()

    def join(self) -> None:
        """Join the blocks since the last join, and release their files."""
        if self._left:
            first, *others = (folder for folder, _ in self._left)
            self.tables.append(cache_block(first, pa.concat_tables([rows for _, rows in self._left])))
            self.files.append(first / BLOCK)
            for folder in others:
                with suppress(OSError), atomic_folder(folder, replace=True) as staged:  # without links the block stays
                    os.link(first / BLOCK, staged / BLOCK)
                    seal(staged, read=cached_digests)
            self._left, self._size = [], 0


def with_columns(rows: pa.Table, **columns: Any) -> pa.Table:
    """The rows, with these columns replaced."""
    return pa.table({name: columns.get(name, rows[name]) for name in rows.column_names}, schema=rows.schema)


class Pool(Dataset[tuple[Tensor, int]]):
    """Examples x [n, *sample_shape] with labels y, int64 [n].

    Training's targets are y, or with soft labels probabilities float32 [n, K]. The pool is an ExampleSet and a
    map-style data set of torch: pool[i] is an example, float32, and its label.

    Parameters
    ----------
    path, sample_shape
        The pool's folder, and an example's shape.
    version
        How many rounds to open; `latest` opens all.
    config
        The section [pool].
    classes
        Names, stored in the files for other readers.
    memory
        Bytes. A larger pool, and any of JPEGs, is read from disk each time.

    Raises
    ------
    InputError
        If the storage cannot hold such examples, or the files' examples have another shape.
    DamagedError
        If the pool cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        sample_shape: Sequence[int],
        version: int = 0,
        config: PoolConfig | None = None,
        classes: Sequence[str] = (),
        memory: float = MEMORY,
    ) -> None:
        self.path = path = Path(path)
        self.sample_shape = sample_shape = tuple(sample_shape)
        self.config = config or PoolConfig()
        self.memory = memory
        self.storage = open_storage(self.config.storage, sample_shape)
        self.schema = self._schema(classes)  # of appended rows
        self.version = 0
        self.newest = 0  # rows in the latest round
        self.y = torch.empty(0, dtype=torch.int64, device="cpu")
        self.posterior: Tensor | None = None  # float32 [n, K], of a pool with soft labels
        self._chunks: list[pa.Array] = []  # of examples, memory-mapped
        self._place = np.empty((0, 2), np.int64)  # of each row: its chunk, and its index there
        self._facts: list[pa.Table] = []  # of each round, in order of the rows
        self._stored: Tensor | None = None  # the examples as they are stored, if they are in memory
        if version < 0:
            raise InputError(f"{path}: version = {version}: should be a number of rounds, 0 or more")
        self.refresh(version)

    @classmethod
    def latest(cls, path: str | Path, sample_shape: Sequence[int]) -> Self:
        """Verify and open all rounds; examples are read from disk on demand.

        Raises InputError if there are none, and DamagedError if a file is missing or changed.
        """
        path = Path(path)
        if not (version := len(rounds_of(path))):
            raise InputError(f"{path} has no rounds: should be the folder pool of a run or Practice")
        verify_pool(path, version)
        return cls(path, sample_shape, version, memory=0)

    def _schema(self, classes: Sequence[str]) -> pa.Schema:
        """The schema, whose metadata describe columns for `datasets`."""
        columns = {name: pa.type_for_alias(kind) for name, kind in COLUMNS.items()} | {"example": self.storage.type}
        described: dict[str, Any] = {name: {"dtype": kind, "_type": "Value"} for name, kind in COLUMNS.items()}
        if classes:
            described["label"] = {"names": list(classes), "_type": "ClassLabel"}
        described["example"] = self.storage.feature
        if self.config.soft_labels:
            columns["posterior"] = pa.list_(pa.float32())
            described["posterior"] = NUMBERS_FEATURE
        metadata = {"huggingface": json.dumps({"info": {"features": described}}), SHAPE: json.dumps(self.sample_shape)}
        return pa.schema(columns, metadata=metadata)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Several items at once, for torch's DataLoader."""
        rows = rows_of(indices, len(self))
        return list(zip(pixels.to_float(self._read(rows)), self.y[rows].tolist(), strict=True))

    def __reduce__(self) -> "tuple[type[Pool], tuple[Any, ...]]":
        return type(self), (self.path, self.sample_shape, self.version, self.config, (), self.memory)

    @property
    def x(self) -> "PoolExamples":
        """The examples, read on demand."""
        return PoolExamples(self)

    def minibatch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Shaped[Tensor, "batch *sample"], Shaped[Tensor, "batch *targets"]]:
        """Examples to train on, as they are stored (float32 or uint8), and their targets."""
        targets = self.y if self.posterior is None else self.posterior
        return self._read(rows), targets.index_select(0, rows)

    def table(self, newest: bool = False) -> pa.Table:
        """The columns FACTS, of all rows or the latest round's."""
        facts = self._facts[-1:] if newest else self._facts
        return pa.concat_tables(facts or [_facts_of(self.schema.empty_table())])

    @property
    def in_memory(self) -> bool:
        """Whether examples are in memory; if not, they are read from disk each time."""
        return self._stored is not None

    def append(self, index: int, rows: pa.Table, files: Sequence[Path] = ()) -> None:
        """Commit round `index`, the next, whole or not at all. All processes call this.

        `rows` are this process's, with `schema`; their column `row` counts within the round, over all processes.
        `files` that hold them are linked. Raises InputError if the round cannot follow.
        """
        if index != self.version:
            raise InputError(f"{self.path}: round {index} cannot be added: the next one is {self.version}")
        fits = (
            rows.schema.equals(self.schema, check_metadata=True)
            and self.storage.type == self.schema.field("example").type
        )
        counts, fitting = zip(*gather([(len(rows), fits)]), strict=True)
        if not sum(counts) or not all(fitting):
            raise InputError(f"{self.path}: round {index} has no rows, or others than Pool.schema and its rounds have")
        folder, rank = self.path / f"round-{index:04d}", this_process().process_index
        staged = self.path / f".{folder.name}"

        def begin() -> None:
            if folder.exists():
                raise InputError(f"{folder} is there already, of a later version: drop_later drops it")
            remove(staged)
            staged.mkdir(parents=True)

        def commit() -> None:
            seal(staged, sorted(written), lambda folder, names: {name: written[name] for name in names})
            staged.rename(folder)

        on_main(begin)
        names = [f"{rank:04d}-{number:06d}.arrow" for number in range(len(files))] or [f"{rank:04d}.arrow"]
        for file, name in zip(files, names, strict=False):
            try:
                os.link(file, staged / name)
            except OSError:  # the file system has no links
                shutil.copyfile(file, staged / name)
        if not files:
            write_rows(staged / names[0], rows)
        written = dict(gather([*cached_digests(staged, names).items()]))  # each process hashes its own files
        on_main(commit)
        self._open(index)

    def refresh(self, version: int) -> None:
        """Open the rounds up to this version, such as those that another process has appended."""
        for index in range(self.version, version):
            self._open(index)

    def drop_later(self) -> None:
        """Drop rounds that a killed run appended after this version. All processes call this."""

        def drop() -> None:
            for folder in (*rounds_of(self.path)[self.version :], *self.path.glob(".round-*")):
                remove(folder)

        on_main(drop)

    def _open(self, index: int) -> None:
        """Map a round, which another process may just have written. If it cannot be read, nothing changes."""
        folder = self.path / f"round-{index:04d}"

        with own_file(folder, REMEDY):
            table = when_visible(lambda: read_round(folder))
            order = np.argsort(table["row"].to_numpy())
            facts = _facts_of(table).take(order)
            shape = tuple(json.loads(table.schema.metadata[SHAPE]))
        if shape != tuple(self.sample_shape):
            raise InputError(f"{folder}: its examples have shape {list(shape)}, not {list(self.sample_shape)}")
        n = len(self)
        facts = facts.set_column(0, "row", pa.array(np.arange(n, n + len(facts))))
        chunks = table["example"].chunks
        if self.storage.type != chunks[0].type:
            self.storage = storage_of(chunks[0].type, self.sample_shape)
        parts = enumerate(chunks, len(self._chunks))
        place = [np.stack([np.full(len(part), number), np.arange(len(part))], axis=1) for number, part in parts]
        self._chunks += chunks
        self._place = np.concatenate([self._place, np.concatenate(place)[order]])
        self._facts.append(facts)
        self.newest = len(facts)
        self.y = torch.cat([self.y, torch.tensor(facts["label"].to_numpy(), device="cpu")])
        if "posterior" in facts.column_names:
            new = torch.tensor(facts["posterior"].combine_chunks().flatten().to_numpy()).view(len(facts), -1)
            self.posterior = new if self.posterior is None else torch.cat([self.posterior, new])
        before, self._stored = self._stored, None
        if 0 < self.storage.value_bytes * len(self) * self.storage.size <= self.memory:
            new = self._read(torch.arange(0 if before is None else n, len(self), device="cpu"))
            self._stored = new if before is None else torch.cat([before, new])
        self.version = index + 1

    def _read(self, rows: Tensor) -> Tensor:
        if self._stored is not None:
            return self._stored.index_select(0, rows)  # faster than [rows]
        with own_file(self.path, REMEDY):
            cells = [self._chunks[chunk].slice(at, 1) for chunk, at in self._place[rows.numpy()].tolist()]
            return self.storage.decode(pa.concat_arrays(cells or [pa.nulls(0, self.storage.type)]))


def _facts_of(table: pa.Table) -> pa.Table:
    return table.select([name for name in table.column_names if name in FACTS])


class PoolExamples:
    """A pool's examples as an ExampleArray: float32, or integers if they are codes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._pool), *self._pool.sample_shape)

    def __getitem__(self, rows: slice) -> Shaped[Tensor, "rows *sample"]:
        return pixels.to_float(self._pool.minibatch(torch.arange(*rows.indices(len(self._pool))))[0])


def rows_of(indices: Iterable[SupportsIndex], n: int) -> Tensor:
    """The rows of n that indices name, negative ones from the end, in a time that n does not change."""
    return torch.tensor([range(n)[operator.index(index)] for index in indices], dtype=torch.int64, device="cpu")


def rounds_of(pool: Path) -> list[Path]:
    """The folders of a pool's rounds, in order."""
    return sorted(pool.glob("round-*"), key=lambda folder: (len(folder.name), folder.name))  # round-10000 after 9999


def read_round(folder: Path) -> pa.Table:
    """A round's rows by file, memory-mapped."""
    return pa.concat_tables([read_rows(file) for file in sorted(folder.glob("*.arrow"))])


def read_together(pool: Path) -> None:
    """Hash the files, shared among processes, for a later `pool_problem`. All processes call this."""
    if this_process().num_processes > 1:
        files = [file.relative_to(pool).as_posix() for file in sorted(pool.glob("round-*/*.arrow"))]
        with suppress(OSError):  # pool_problem reports it
            cached_digests(pool, own_share(files))
        digest_cache.update(gather([*digest_cache.items()]))


def pool_problem(pool: Path, version: int | None = None) -> str | None:
    """The first fault of the first `version` rounds, or of all; None if they are as written."""
    for index in range(len(rounds_of(pool)) if version is None else version):
        folder = pool / f"round-{index:04d}"
        if not (folder / RECORD).is_file():
            return f"{folder if not folder.is_dir() else folder / RECORD} is missing"
        if problem := damage(folder, read=cached_digests):
            return problem
    return None


def verify_pool(pool: Path, version: int) -> None:
    """Raise DamagedError if a file of the first rounds is missing or changed."""
    if problem := pool_problem(pool, version):
        raise DamagedError(problem, REMEDY)
