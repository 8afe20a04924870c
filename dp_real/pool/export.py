"""Exports a run's pool for other programs, as an image folder, Parquet or JSONL. `datasets` loads them as they are.

Images are written as bytes (dp_real.runtime.pixels). Other examples are written as texts or numbers, without a folder.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from dp_base.errors import InputError
from dp_base.files import strict_json
from dp_real.codes import to_texts
from dp_real.data.sets.class_names import folder_names
from dp_real.pool.batch import POSTERIOR
from dp_real.pool.pool import Pool
from dp_real.runtime.pixels import to_bytes, to_image

WRITTEN = {
    "row": "int64",
    "round": "int32",
    "seed": "uint64",
    "omega": "float32",
    "entropy": "float32",
    "correct": "bool",
}
"""Columns of the pool that are written for each example, and their types."""
NUMBERS: Any = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}
"""A list of numbers, as `datasets` describes it."""
GROUP = 1000  # rows that are written to Parquet together


def example_rows(pool: Pool, batch_size: int = 256) -> Iterator[dict[str, Any]]:
    """Yield the rows of a pool in order.

    A row has the columns dp_real.pool.FACTS, `posterior` if the pool has soft labels, and `example`. The example is
    float32 [*sample_shape], or int32 if it is a text.
    """
    for batch in pool.table().to_batches(max_chunksize=batch_size):
        rows = batch.to_pylist()
        examples = pool.x[rows[0]["row"] : rows[-1]["row"] + 1]
        for row, example in zip(rows, examples, strict=True):
            yield row | {"example": example}


def write_folder(pool: Pool, classes: Sequence[str], out: Path) -> None:
    """Write out/CLASS/ROW.png, and out/metadata.jsonl with a line for each image.

    A line has `file_name`, `label` (the name of the class) and the columns WRITTEN. Raises InputError if the examples
    are not images.
    """
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
    """Write out/train.jsonl with a line for each example.

    A line has `text` or `example` (its numbers), `label` (the name of the class) and the columns WRITTEN. With soft
    labels it also has `posterior`, a probability for each class. Raises InputError for images.
    """
    if example_column(pool) == "image":
        raise InputError(
            f"{pool.path}: its examples are images, which JSON has no place for; --format folder or parquet"
        )
    with open(out / "train.jsonl", "w", encoding="utf-8") as file:
        for row in example_rows(pool):
            facts = {"label": classes[int(row["label"])]} | written_facts(row) | {key: row[key] for key in pool.soft}
            file.write(strict_json(content(pool, row["example"]) | facts) + "\n")


def written_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's WRITTEN columns for JSON. The seed is a text, since readers make floats of large numbers."""
    return {key: str(row[key]) if key == "seed" else row[key] for key in WRITTEN}


def example_column(pool: Pool) -> Literal["image", "text", "example"]:
    """Return the name of the column that has the examples."""
    if pool.of_texts:
        return "text"
    return "image" if len(pool.sample_shape) == 3 else "example"


def content(pool: Pool, example: Tensor) -> dict[str, Any]:
    """Return an example [*sample_shape] as the column that has it: an image, a text, or numbers."""
    column = example_column(pool)
    if column == "image":
        return {column: png(example)}
    if column == "text":
        return {column: to_texts(example.unsqueeze(0))[0]}
    return {column: example.flatten().tolist()}


def write_parquet(pool: Pool, classes: Sequence[str], out: Path) -> None:
    """Write out/train.parquet with a row for each example.

    Its columns are `image` (a PNG), `text` or `example` (numbers), `label` with the names of the classes, WRITTEN, and
    with soft labels `posterior`.
    """
    schema = _parquet_schema(pool, classes)
    with pq.ParquetWriter(out / "train.parquet", schema) as writer:
        group: list[dict[str, Any]] = []
        for row in example_rows(pool):
            example = row.pop("example")
            group.append(row | content(pool, example))
            if len(group) == GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group.clear()
        writer.write_table(pa.Table.from_pylist(group, schema))


def _parquet_schema(pool: Pool, classes: Sequence[str]) -> pa.Schema:
    """Return the schema of the Parquet file, with the description by which `datasets` knows the columns."""
    column = example_column(pool)
    types = {
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "text": pa.string(),
        "example": pa.list_(pa.float32()),
    }
    descriptions: dict[str, Any] = {
        "image": {"_type": "Image"},
        "text": {"dtype": "string", "_type": "Value"},
        "example": NUMBERS,
    }
    fields: dict[str, Any] = {column: types[column], "label": pa.int64()}
    fields |= {key: pa.type_for_alias(kind) for key, kind in WRITTEN.items()}
    fields |= {key: POSTERIOR for key in pool.soft}
    features: dict[str, Any] = {column: descriptions[column]}
    features |= {key: NUMBERS for key in pool.soft}
    features |= {"label": {"names": list(classes), "_type": "ClassLabel"}}
    features |= {key: {"dtype": kind, "_type": "Value"} for key, kind in WRITTEN.items()}
    return pa.schema(fields).with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def png(example: Tensor) -> dict[str, Any]:
    """Return an image [C, H, W] as `datasets` stores it in Parquet."""
    buffer = io.BytesIO()
    to_image(to_bytes(example)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}
