"""Exports a run's pool as an image folder, Parquet or JSONL, which `datasets` loads."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dp_base.errors import InputError
from dp_base.files import strict_json
from dp_real.data.sets.class_names import folder_names
from dp_real.pool.batch import KINDS
from dp_real.pool.pool import Pool
from dp_real.pool.storages import IMAGE, NUMBERS_FEATURE
from dp_real.runtime.pixels import to_bytes, to_image

WRITTEN = {name: KINDS[name] for name in ("row", "round", "seed", "omega", "entropy", "correct")}
"""Columns of the pool that are written for each example, and their types."""
GROUP = 1000  # rows that are written to Parquet together


def example_rows(pool: Pool, batch_size: int = 256) -> Iterator[dict[str, Any]]:
    """A pool's rows in order: FACTS, `posterior` with soft labels, and `example`, float32 or int32 [*sample_shape]."""
    for batch in pool.table().to_batches(max_chunksize=batch_size):
        rows = batch.to_pylist()
        examples = pool.x[rows[0]["row"] : rows[-1]["row"] + 1]
        for row, example in zip(rows, examples, strict=True):
            yield row | {"example": example}


def write_folder(pool: Pool, classes: Sequence[str], out: Path) -> None:
    """Write out/CLASS/ROW.png, and out/metadata.jsonl with `file_name`, `label` and WRITTEN of each image."""
    if len(pool.sample_shape) != 3:
        shape = list(pool.sample_shape)
        raise InputError(f"{pool.path}: its examples are no images, but have shape {shape}; --format parquet or jsonl")
    folders = folder_names(classes)
    with open(out / "metadata.jsonl", "w", encoding="utf-8") as metadata:
        for row in example_rows(pool):
            label = int(row["label"])
            file = Path(folders[label]) / f"{row['row']:09d}.png"
            (out / file).parent.mkdir(exist_ok=True)
            to_image(to_bytes(row["example"])).save(out / file)
            facts = {"file_name": file.as_posix(), "label": classes[label]} | written_facts(row)
            metadata.write(strict_json(facts) + "\n")


def write_jsonl(pool: Pool, classes: Sequence[str], out: Path) -> None:
    """Write out/train.jsonl: an example in its storage's column, `label`, WRITTEN, and with soft labels `posterior`.

    Raises InputError for images.
    """
    column = pool.stored.exported
    if column == IMAGE:
        raise InputError(
            f"{pool.path}: its examples are images, which JSON has no place for; --format folder or parquet"
        )
    with open(out / "train.jsonl", "w", encoding="utf-8") as file:
        for row in example_rows(pool):
            facts = {"label": classes[int(row["label"])]} | written_facts(row) | {key: row[key] for key in pool.soft}
            file.write(strict_json({column.name: column.value(row["example"])} | facts) + "\n")


def written_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's WRITTEN columns for JSON. The seed is a text, since readers make floats of large numbers."""
    return {key: str(row[key]) if key == "seed" else row[key] for key in WRITTEN}


def write_parquet(pool: Pool, classes: Sequence[str], out: Path) -> None:
    """Write out/train.parquet: an example (a PNG of an image), `label`, WRITTEN, and with soft labels `posterior`."""
    from datasets import Features

    column = pool.stored.exported
    described = {column.name: column.feature, "label": {"names": list(classes), "_type": "ClassLabel"}}
    described |= {key: {"dtype": kind, "_type": "Value"} for key, kind in WRITTEN.items()}
    described |= {key: NUMBERS_FEATURE for key in pool.soft}
    schema = Features.from_dict(described).arrow_schema
    with pq.ParquetWriter(out / "train.parquet", schema) as writer:
        group: list[dict[str, Any]] = []
        for row in example_rows(pool):
            example = row.pop("example")
            group.append(row | {column.name: column.value(example)})
            if len(group) == GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group.clear()
        writer.write_table(pa.Table.from_pylist(group, schema))
