"""Exports a run's pool as an image folder, Parquet or JSONL, which `datasets` loads."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dp_base.errors import InputError
from dp_base.files import strict_json
from dp_real.data.sets.class_names import folder_names
from dp_real.pool.pool import COLUMNS, Pool
from dp_real.pool.storages import IMAGE, NUMBERS_FEATURE
from dp_real.runtime.pixels import to_bytes, to_image

WRITTEN = ("row", "round", "seed", "omega", "entropy", "correct")
"""Columns of the pool that are written for each example."""
GROUP = 1000  # rows that are read together, and of a Parquet row group
ONE_SPLIT = '---\nconfigs:\n- config_name: default\n  data_files: "**"\n---\n'
"""A README.md by which `datasets` takes no class folder, such as test, for a split."""


def example_rows(pool: Pool) -> Iterator[list[dict[str, Any]]]:
    """Yield groups of rows: FACTS, and `example`, numbers or codes [*sample_shape]."""
    for batch in pool.table().to_batches(max_chunksize=GROUP):
        rows = batch.to_pylist()
        examples = pool.x[rows[0]["row"] : rows[-1]["row"] + 1]
        yield [row | {"example": example} for row, example in zip(rows, examples, strict=True)]


def _for_json(row: dict[str, Any], classes: Sequence[str], first: dict[str, Any]) -> str:
    """The seed is a string, since readers turn large numbers into floats."""
    facts = {key: str(row[key]) if key == "seed" else row[key] for key in WRITTEN}
    return strict_json(first | {"label": classes[int(row["label"])]} | facts) + "\n"


def write_folder(pool: Pool, classes: Sequence[str], out: Path) -> None:
    """Write out/CLASS/ROW.png, and out/metadata.jsonl with `file_name`, `label` and WRITTEN of each image."""
    if pool.storage.exported != IMAGE:
        shape = list(pool.sample_shape)
        raise InputError(f"{pool.path}: its examples are no images, but have shape {shape}; --format parquet or jsonl")
    folders = folder_names(classes)
    (out / "README.md").write_text(ONE_SPLIT)
    with open(out / "metadata.jsonl", "w", encoding="utf-8") as metadata:
        for row in chain.from_iterable(example_rows(pool)):
            file = Path(folders[int(row["label"])]) / f"{row['row']:09d}.png"
            (out / file).parent.mkdir(exist_ok=True)
            to_image(to_bytes(row["example"])).save(out / file)
            metadata.write(_for_json(row, classes, {"file_name": file.as_posix()}))


def write_jsonl(pool: Pool, classes: Sequence[str], out: Path) -> None:
    """Write out/train.jsonl: the example in its storage's column, `label`, WRITTEN, and with soft labels `posterior`.

    Raises InputError for images.
    """
    column = pool.storage.exported
    if column == IMAGE:
        raise InputError(f"{pool.path}: its examples are images, which JSON cannot hold; --format folder or parquet")
    with open(out / "train.jsonl", "w", encoding="utf-8") as file:
        for row in chain.from_iterable(example_rows(pool)):
            soft = {key: row[key] for key in ("posterior",) if key in row}
            file.write(_for_json(row, classes, {column.name: column.value(row["example"])} | soft))


def write_parquet(pool: Pool, classes: Sequence[str], out: Path) -> None:
    """Write out/train.parquet: the example (images as PNG), `label`, WRITTEN, and with soft labels `posterior`."""
    from datasets import Features

    column = pool.storage.exported
    described = {column.name: column.feature, "label": {"names": list(classes), "_type": "ClassLabel"}}
    described |= {key: {"dtype": COLUMNS[key], "_type": "Value"} for key in WRITTEN}
    described |= {} if pool.posterior is None else {"posterior": NUMBERS_FEATURE}
    schema = Features.from_dict(described).arrow_schema
    with pq.ParquetWriter(out / "train.parquet", schema) as writer:
        for group in example_rows(pool):
            rows = [row | {column.name: column.value(row["example"])} for row in group]
            writer.write_table(pa.Table.from_pylist(rows, schema))
