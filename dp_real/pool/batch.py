"""The rows of a round, between drawing and the pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dp_base.checksums import digest
from dp_base.files import whole_file, write_text

FORMAT = 1  # of the files that batches are written to
REAL_SEED = 0  # of real examples, which no noise was drawn for
POSTERIOR = pa.list_(pa.float32())  # a probability for each class


@dataclass(frozen=True)
class Batch:
    """Columns [n]. The pool keeps the first seven and the last; a round's policy and costs use the others."""

    row: np.ndarray  # int64, position in the round
    label: np.ndarray  # int64
    seed: np.ndarray  # uint64, draws the row's noise again (dp_real.runtime.seeds.row_noise)
    omega: np.ndarray  # float32, strength of the guidance
    entropy: np.ndarray  # float32, nats, of the learner at the time
    correct: np.ndarray  # bool, whether that learner predicted the label
    example: pa.Array | pa.ChunkedArray  # as the pool stores it
    draws: np.ndarray  # int64, how many samples were generated for this row
    redrawn: np.ndarray  # int64, how many of them were of no use: not finite, or of one value
    seconds: np.ndarray  # float64, that drawing and assessing the row took; a block's are shared evenly
    posterior: pa.Array | pa.ChunkedArray | None = None  # POSTERIOR: with pool.soft_labels, the generator's for it

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def empty(cls, example: pa.DataType, soft_labels: bool = False) -> Batch:
        """A batch without rows. example: the pool's type of that column."""
        kinds = {"row": "i8", "label": "i8", "seed": "u8", "omega": "f4", "entropy": "f4", "correct": "?"}
        kinds |= {"draws": "i8", "redrawn": "i8", "seconds": "f8"}
        columns = {name: np.empty(0, kind) for name, kind in kinds.items()}
        posterior = pa.array([], POSTERIOR) if soft_labels else None
        return cls(**columns, example=pa.array([], example), posterior=posterior)

    @classmethod
    def concatenate(cls, batches: Sequence[Batch]) -> Batch:
        """Return the rows of all batches, in order."""
        return cls.of(pa.concat_tables([batch.table() for batch in batches]))

    def select(self, mask: np.ndarray) -> Batch:
        """Return the rows where `mask`, bool [n], is set."""
        return self.of(self.table().filter(pa.array(mask)))

    def among(self, kept: np.ndarray) -> Batch:
        """Return the rows that are kept, int64 [m] in ascending order; each then counts among these."""
        batch = self.select(np.isin(self.row, kept))
        return replace(batch, row=kept.searchsorted(batch.row))

    def table(self) -> pa.Table:
        """Return the columns as a table."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return pa.table({name: column for name, column in columns.items() if column is not None})

    @classmethod
    def of(cls, table: pa.Table) -> Batch:
        """Return the batch of such a table. The examples are not copied, and may lie in a memory-mapped file."""
        columns: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in ("example", "posterior"):
                columns[field.name] = table[field.name].combine_chunks().to_numpy(zero_copy_only=False)
            elif field.name in table.column_names:
                columns[field.name] = table[field.name]
        return cls(**columns)

    def write(self, path: Path) -> None:
        """Write the batch as an Arrow file, whole or not at all, and then the file's checksum beside it."""
        table = self.table()
        with whole_file(path) as partial, pa.ipc.new_file(str(partial), table.schema) as writer:
            writer.write_table(table)
        write_text(_checksum(path), digest(path))

    @classmethod
    def read(cls, path: Path) -> Batch:
        """Memory-map what `write` left."""
        return cls.of(pa.ipc.open_file(pa.memory_map(str(path))).read_all())

    @classmethod
    def kept(cls, path: Path, make: Callable[[], Batch]) -> Batch:
        """The batch in a file, memory-mapped; made and written if it is missing or damaged."""
        if intact(path):
            return cls.read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        make().write(path)
        return cls.read(path)


def intact(path: Path) -> bool:
    """Whether a file is there as `Batch.write` left it. A file without its checksum counts as damaged."""
    try:
        return _checksum(path).read_text(encoding="utf-8") == digest(path)
    except (OSError, UnicodeDecodeError):
        return False


def _checksum(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
