"""The pool of generated examples. It only grows, by a version of Lance for each round, and is in memory if it fits."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import lance
import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int, Shaped
from lance.fragment import write_fragments
from torch import Tensor
from torch.utils.data import Dataset

from dp_base.errors import MissingError
from dp_real.pool.batch import POSTERIOR, Batch
from dp_real.pool.late import when_visible
from dp_real.pool.record import PoolRecord, drop_unreadable, opening, uri, verify_pool
from dp_real.pool.storages import Storage, open_storage, storage_of
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
"""The columns of the pool that every row has, beside the example."""


class Pool(Dataset[tuple[Tensor, int]]):
    """Examples x [n, *sample_shape] with labels y, int64 [n].

    Version 0 is empty, and each round that is appended makes the next version. With soft labels, training's targets
    are the probabilities of the classes, float32 [n, K]. Otherwise they are y.

    The pool is an ExampleSet, and a map-style data set of torch: pool[i] is an example, float32, and its label. Workers
    of a DataLoader open the pool anew. They must be spawned, because Lance does not survive a fork.

    Parameters
    ----------
    path : Path
        The folder of the pool.
    sample_shape : tuple of int
        The shape of an example.
    version : int
        The version to open.
    config : PoolConfig, optional
        The section [pool].

    Raises
    ------
    InputError
        If `config` asks for a storage that is not made for such examples.
    DamagedError
        If the pool cannot be read.

    Examples
    --------
    >>> pool = Pool(folder / "pool", (1, 8, 8))  # doctest: +SKIP
    >>> pool.append(0, batch)  # doctest: +SKIP
    >>> x, targets = pool.minibatch(torch.tensor([3, 0]))  # doctest: +SKIP
    """

    def __init__(
        self, path: Path, sample_shape: tuple[int, ...], version: int = 0, config: PoolConfig | None = None
    ) -> None:
        self.path = path
        self.sample_shape = sample_shape
        self.config = config or PoolConfig()
        self.storage = open_storage(self.config, sample_shape)  # of rows that are appended
        self.version = 0
        self.newest = 0  # number of rows of the latest round
        self.y = torch.empty(0, dtype=torch.int64)
        self.posterior: Tensor | None = None  # float32 [n, K], of a pool with soft labels
        self._kept: Tensor | None = None  # the examples as they are stored, if they are in memory
        if version:
            self._open(version)

    @classmethod
    def latest(cls, path: Path, sample_shape: tuple[int, ...], config: PoolConfig | None = None) -> Self:
        """Open a pool at its latest version.

        Parameters
        ----------
        path, sample_shape, config
            See Pool.

        Returns
        -------
        Pool
            The pool.

        Raises
        ------
        MissingError
            If there is no pool.
        DamagedError
            If a file of the pool is missing or changed.
        """
        version = PoolRecord.read(path).latest
        if version is None:
            raise MissingError(f"{path}: there is no pool")
        verify_pool(path, version)
        return cls(path, sample_shape, version, config)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an example, float32 [*sample_shape], and its label."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Return several examples and labels, as torch's DataLoader asks for them.

        From disk, this is much faster than one by one.
        """
        rows = torch.arange(len(self))[torch.as_tensor(indices)]  # raises IndexError, and resolves negative indices
        examples = pixels.to_float(self._read(rows))
        return list(zip(examples, self.y[rows].tolist(), strict=True))

    def __reduce__(self) -> tuple[type["Pool"], tuple[Any, ...]]:
        return type(self), (self.path, self.sample_shape, self.version, self.config)

    @property
    def x(self) -> "PoolExamples":
        """The examples, read on demand."""
        return PoolExamples(self)

    def minibatch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Shaped[Tensor, "batch *sample"], Shaped[Tensor, "batch *targets"]]:
        """Read examples to train on.

        Parameters
        ----------
        rows : Int[Tensor, " batch"]
            Positions in the pool.

        Returns
        -------
        tuple of Tensor
            The examples, float32 or uint8 as they are stored (see dp_real.runtime.pixels), and their targets.
        """
        targets = self.y if self.posterior is None else self.posterior
        return self._read(rows), targets.index_select(0, rows)

    @property
    def stored(self) -> Storage:
        """The storage by which the examples were written."""
        return storage_of(self._data.schema.field("example").type, self.config, self.sample_shape)

    @property
    def in_memory(self) -> bool:
        """Whether the examples are in memory. If not, they are read from disk each time."""
        return self._kept is not None

    def append(self, round_index: int, batch: Batch) -> None:
        """Commit one round, whole or not at all. All processes must call this.

        Parameters
        ----------
        round_index : int
            The number of the round.
        batch : Batch
            The rows of this process in ascending order. Their `row` counts within the round, over all processes.
        """
        table = self._table_of(round_index, batch)
        # Each run of consecutive rows becomes fragments of its own, since rows of other processes lie between them.
        breaks = np.flatnonzero(np.diff(batch.row) != 1) + 1
        edges = [0, *breaks.tolist(), len(batch)] if len(batch) else []
        mode = "append" if self.version else "create"
        written: list[tuple[int, list[Any]]] = []
        for begin, end in pairwise(edges):
            run = table.slice(begin, end - begin)
            fragments = write_fragments(run, uri(self.path), schema=table.schema, mode=mode)
            written.append((int(batch.row[begin]), fragments))
        in_order = sorted(gather(written), key=lambda pair: pair[0])
        all_fragments = [fragment for _, fragments in in_order for fragment in fragments]
        with main_first() as is_main:  # the main process commits for all
            version = 0
            if is_main:
                version = self._commit(all_fragments)
                when_visible(lambda: PoolRecord.read(self.path).add(self.path, version), self.path)
        self._open(from_main(version))

    def _table_of(self, round_index: int, batch: Batch) -> pa.Table:
        """Return the rows of a round as a table of the pool's columns."""
        columns = {name: getattr(batch, name) for name in FACTS if name != "round"}
        columns["row"] = batch.row + len(self)
        columns["round"] = np.full(len(batch), round_index)
        columns["example"] = batch.example
        if batch.posterior is not None:
            columns["posterior"] = batch.posterior
        schema = self._schema()
        return pa.table(columns).select(schema.names).cast(schema)

    def drop_later(self) -> None:
        """Drop what a run appended after this version before it was killed. All processes must call this."""
        with main_first() as is_main:
            version = self.version
            if is_main:
                drop_unreadable(self.path, version)
            dataset = lance.dataset(uri(self.path), version=version)
            if is_main:
                record = PoolRecord.read(self.path)
                if dataset.latest_version > version:
                    dataset.restore()
                    version = dataset.latest_version
                    record.add(self.path, version)
                record.drop_strays(self.path)
        self._open(from_main(version))

    def table(self, newest: bool = False) -> pa.Table:
        """Return the columns FACTS, and `posterior` if the pool has soft labels.

        Parameters
        ----------
        newest : bool
            Whether to return only the rows of the latest round.

        Returns
        -------
        pa.Table
            A table with a row for each example.
        """
        start = len(self) - self.newest if newest else 0
        return self._data.scanner(columns=[*FACTS, *self.soft], offset=start).to_table()

    def _commit(self, fragments: list[Any]) -> int:
        """Make a version with these new fragments, and return its number."""
        if self.version:
            operation = lance.LanceOperation.Append(fragments)
        else:
            operation = lance.LanceOperation.Overwrite(self._schema(), fragments)
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
        facts = self._data.scanner(columns=["round", "label", *self.soft], offset=known).to_table()
        kept = None
        if self.stored.fits(known + len(facts)):
            kept = self._examples_with_new(known)
        posterior = self._posterior_with_new(facts)
        rounds = facts["round"].to_numpy()
        labels = torch.from_numpy(facts["label"].to_numpy().astype(np.int64))
        # From here on nothing can fail, so either all new rows are there or none.
        self._kept = kept
        self.posterior = posterior
        self.newest = int((rounds == rounds[-1]).sum())
        self.y = torch.cat([self.y, labels])

    def _examples_with_new(self, known: int) -> Tensor:
        """Return the examples in memory, as they are stored, followed by those after the first `known` ones."""
        column = self._data.scanner(columns=["example"], offset=known).to_table()["example"]
        new = self.stored.decode(column.combine_chunks())
        return new if self._kept is None else torch.cat([self._kept, new])

    def _posterior_with_new(self, facts: pa.Table) -> Tensor | None:
        """Return the soft labels, followed by those of new rows. Return None if the pool has none."""
        parts = [] if self.posterior is None else [self.posterior]
        for name in self.soft:
            values = facts[name].combine_chunks().flatten().to_numpy()
            parts.append(torch.tensor(values).view(len(facts), -1))
        return torch.cat(parts) if parts else None

    def _read(self, rows: Tensor) -> Tensor:
        """Return the examples at these rows, as they are stored."""
        if self._kept is not None:
            return self._kept.index_select(0, rows)  # faster than [rows]
        with opening(self.path):
            return self.stored.decode(self._data.take(rows.tolist(), columns=["example"])["example"].combine_chunks())

    @property
    def soft(self) -> list[str]:
        """The name of the column of soft labels, if the pool has one."""
        return [name for name in self._data.schema.names if name == "posterior"]

    def _schema(self) -> pa.Schema:
        soft = {"posterior": POSTERIOR} if self.config.soft_labels else {}
        return pa.schema(FACTS | {"example": self.storage.type} | soft)


class PoolExamples:
    """The examples of a pool as an ExampleArray, float32."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, *sample_shape]."""
        return (len(self._pool), *self._pool.sample_shape)

    def __getitem__(self, rows: slice) -> Shaped[Tensor, "rows *sample"]:
        """Return consecutive examples: float32, or integers if they are codes."""
        positions = torch.arange(*rows.indices(len(self._pool)))
        examples, _ = self._pool.minibatch(positions)
        return pixels.to_float(examples)
