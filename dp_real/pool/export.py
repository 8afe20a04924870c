"""Exports a run's pool for other programs: as an image folder, Parquet or JSONL. `datasets` loads them as they are.

Images are written as bytes (dp_real.runtime.pixels). Other examples are written as texts or numbers, without a folder.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from dp_base.errors import InputError
from dp_base.files import strict_json
from dp_real.data.sets.class_names import folder_names
from dp_real.pool.batch import POSTERIOR
from dp_real.pool.pool import Pool
from dp_real.runtime.pixels import to_bytes, to_image
from dp_real.text.codes import to_texts

WRITTEN = ("row", "round", "seed", "omega", "entropy", "correct")  # columns of the pool, written for each example


def pool_rows(pool: Pool, batch_size: int = 256) -> Iterator[dict[str, Any]]:
    """The rows of a pool in order: dp_real.pool.FACTS, and `example`, float32 [*sample_shape], or int32 of a text."""
    for batch in pool.table().to_batches(max_chunksize=batch_size):
        rows = batch.to_pylist()
        for row, example in zip(rows, pool.x[rows[0]["row"] : rows[-1]["row"] + 1], strict=True):
            yield row | {"example": example}


def write_folder(pool: Pool, classes: Sequence[str], out: Path) -> None:
    """Write out/CLASS/ROW.png, and out/metadata.jsonl with a line per image: file_name, label (a name), and `written`.

    Raises InputError if the examples are not images.
    """
    if len(pool.sample_shape) != 3:
        shape = list(pool.sample_shape)
        raise InputError(f"{pool.path}: its examples are no images, but have shape {shape}; --format parquet or jsonl")
    folders = folder_names(classes)
    with open(out / "metadata.jsonl", "w", encoding="utf-8") as metadata:
        for row in pool_rows(pool):
            name = classes[int(row["label"])]
            file = Path(folders[int(row["label"])]) / f"{row['row']:09d}.png"
            (out / file).parent.mkdir(exist_ok=True)
            to_image(to_bytes(row["example"])).save(out / file)
            facts = {"file_name": file.as_posix(), "label": name} | written(row)
            metadata.write(strict_json(facts) + "\n")


def write_jsonl(pool: Pool, classes: Sequence[str], out: Path) -> None:
    """Write out/train.jsonl, a line per example: text, or example (numbers), label (a class's name), and `written`.

    With soft labels also `posterior`, a probability for each class; in Parquet, too. Raises InputError for images.
    """
    if len(pool.sample_shape) == 3 and not pool.of_texts:
        raise InputError(
            f"{pool.path}: its examples are images, which JSON has no place for; --format folder or parquet"
        )
    with open(out / "train.jsonl", "w", encoding="utf-8") as file:
        for row in pool_rows(pool):
            facts = {"label": classes[int(row["label"])]} | written(row) | {key: row[key] for key in pool.soft}
            file.write(strict_json(content(pool, row["example"]) | facts) + "\n")


def written(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's WRITTEN as JSON has it: the seed as text, since readers make floats of numbers from 2^63 on."""
    return {key: str(row[key]) if key == "seed" else row[key] for key in WRITTEN}


def content(pool: Pool, example: Tensor) -> dict[str, Any]:
    """The column that has an example: `image`, `text`, or `example` with its numbers."""
    if pool.of_texts:
        return {"text": to_texts(example.unsqueeze(0))[0]}
    return {"image": png(example)} if len(pool.sample_shape) == 3 else {"example": example.flatten().tolist()}


def write_parquet(pool: Pool, classes: Sequence[str], out: Path) -> None:
    """Write out/train.parquet: image (a PNG), text, or example (numbers), label with class names, and WRITTEN."""
    kinds = dict(zip(WRITTEN, ("int64", "int32", "uint64", "float32", "float32", "bool"), strict=True))
    numbers: Any = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}
    known: dict[str, tuple[pa.DataType, Any]] = {
        "image": (pa.struct({"bytes": pa.binary(), "path": pa.string()}), {"_type": "Image"}),
        "text": (pa.string(), {"dtype": "string", "_type": "Value"}),
        "example": (pa.list_(pa.float32()), numbers),
    }
    name = "text" if pool.of_texts else "image" if len(pool.sample_shape) == 3 else "example"
    kind, feature = known[name]
    fields = {name: kind, "label": pa.int64()}
    soft = {key: POSTERIOR for key in pool.soft}
    schema = pa.schema(fields | {key: pa.type_for_alias(kind) for key, kind in kinds.items()} | soft)
    features = {name: feature} | {key: numbers for key in soft}
    features |= {"label": {"names": list(classes), "_type": "ClassLabel"}}
    features |= {key: {"dtype": kind, "_type": "Value"} for key, kind in kinds.items()}
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    with pq.ParquetWriter(out / "train.parquet", schema) as writer:
        group: list[dict[str, Any]] = []
        for row in pool_rows(pool):
            example = row.pop("example")
            group.append(row | content(pool, example))
            if len(group) == 1000:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group.clear()
        writer.write_table(pa.Table.from_pylist(group, schema))


def png(example: Tensor) -> dict[str, Any]:
    """An image as `datasets` stores it in Parquet."""
    buffer = io.BytesIO()
    to_image(to_bytes(example)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}
