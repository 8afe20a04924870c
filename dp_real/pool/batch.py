"""The rows of a round, between drawing and the pool, and the Arrow files that they lie in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dp_base.checksums import RECORD, damage, seal
from dp_base.files import whole_file, whole_folder
from dp_real.pool.storages import NUMBERS_FEATURE

FORMAT = 2  # of the files that batches are written to
BLOCK = "rows.arrow"  # in the folder of a block
TOGETHER = 1024  # rows that Arrow keeps together
REAL_SEED = 0  # of real examples, which no noise was drawn for
POSTERIOR = pa.list_(pa.float32())  # a probability for each class
KINDS = {
    "row": "int64",
    "round": "int32",
    "label": "int64",
    "seed": "uint64",
    "omega": "float32",
    "entropy": "float32",
    "correct": "bool",
    "draws": "int64",
    "redrawn": "int64",
    "seconds": "float64",
}


@dataclass(frozen=True)
class Batch:
    """Columns [n], of the types KINDS."""

    row: np.ndarray  # int64, position in the round
    round: np.ndarray  # int32
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
        columns = {name: np.empty(0, kind) for name, kind in KINDS.items()}
        posterior = pa.array([], POSTERIOR) if soft_labels else None
        return cls(**columns, example=pa.array([], example), posterior=posterior)

    @classmethod
    def concatenate(cls, batches: Sequence[Batch]) -> Batch:
        return cls.of(pa.concat_tables([batch.table() for batch in batches]))

    def select(self, mask: np.ndarray) -> Batch:
        """mask: bool [n]."""
        return self.of(self.table().filter(pa.array(mask)))

    def among(self, kept: np.ndarray) -> Batch:
        """Return the rows `kept`, int64 [m] in ascending order; each then counts among these."""
        batch = self.select(np.isin(self.row, kept))
        return replace(batch, row=kept.searchsorted(batch.row))

    def table(self) -> pa.Table:
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return pa.table({name: column for name, column in columns.items() if column is not None})

    @classmethod
    def of(cls, table: pa.Table) -> Batch:
        """The examples are not copied, and may lie in a memory-mapped file."""
        columns = {name: table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in KINDS}
        posterior = table["posterior"] if "posterior" in table.column_names else None
        return cls(**columns, example=table["example"], posterior=posterior)

    def write(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Whole or not at all."""
        table = self.table().replace_schema_metadata(metadata)
        with whole_file(path) as partial, pa.ipc.new_stream(str(partial), table.schema) as writer:
            writer.write_table(table, max_chunksize=TOGETHER)

    @classmethod
    def read(cls, folder: Path) -> Batch | None:
        """The batch that was kept in a folder, memory-mapped; None if it is missing or damaged."""
        whole = (folder / RECORD).is_file() and not damage(folder)
        return cls.of(read_table(folder / BLOCK)) if whole else None

    def keep(self, folder: Path, metadata: Mapping[str, str] | None = None) -> Batch:
        """The batch as it lies in folder/BLOCK, sealed and memory-mapped."""
        with whole_folder(folder, replace=True) as staged:
            self.write(staged / BLOCK, metadata)
            seal(staged)
        return self.of(read_table(folder / BLOCK))


def read_table(file: Path) -> pa.Table:
    """An Arrow file, memory-mapped."""
    return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()


def features(example: Mapping[str, Any], classes: Sequence[str], soft_labels: bool) -> dict[str, str]:
    """A file's metadata by which `datasets` knows that labels are classes, say."""
    described: dict[str, Any] = {name: {"dtype": str(kind), "_type": "Value"} for name, kind in KINDS.items()}
    if classes:
        described["label"] = {"names": list(classes), "_type": "ClassLabel"}
    described["example"] = example
    if soft_labels:
        described["posterior"] = NUMBERS_FEATURE
    return {"huggingface": json.dumps({"info": {"features": described}})}
