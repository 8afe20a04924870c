"""Data sets of the library `datasets`, saved by save_to_disk or as Parquet, with a label in each row."""

import os
from collections.abc import Mapping, Sequence
from glob import escape
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dp_base.checksums import json_digest
from dp_base.errors import InputError, MissingError
from dp_base.reading import foreign_file, shortened
from dp_real.data.sets.class_names import Classes, composed, folder_name, read_regular
from dp_real.data.sets.imagenet import imagenet_classes
from dp_real.data.sets.places import Located, pick_split
from dp_real.runtime.cache import unwritable

if TYPE_CHECKING:
    from datasets import Dataset

UNREADABLE = "not Parquet files that `datasets` can read"
LABELS = ("label", "cls", "wnid", "class", "class_name")
"""Usual names of a label column. They are tried in this order if no column is a ClassLabel."""


class TableImage(NamedTuple):
    """An encoded image in a row of the data set `place`."""

    place: str
    data: Any  # a Dataset
    column: str
    row: int
    size: int | None  # in bytes; None: it is in a file, or only labels were read

    def read_bytes(self) -> bytes:
        """Raises ValueError if the row has no image."""
        cell = self.data[self.row][self.column]
        if not cell or not (cell["bytes"] or cell["path"]):
            raise ValueError("the row has no image")
        return cell["bytes"] or read_regular(Path(cell["path"]))

    def __str__(self) -> str:
        return f"{self.place}: row {self.row + 1}"


def read_images(located: Located, classes: Classes) -> list[tuple[TableImage, str]]:
    """Images and their classes. Without `located.fetch` only labels of Parquet files are read; nothing is copied."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from datasets import Features, Image

    by_header = located.kind == "parquet" and not located.fetch
    table: Any = None if by_header else open_table(located)
    features = Features.from_arrow_schema(pq.read_schema(located.paths[0])) if by_header else table.features
    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    image, label = pick_columns(located, "image", images or ["image"], features)
    sizes: Any = repeat(None)
    if by_header:
        _require_cache()
        labels = pq.read_table([*map(str, located.paths)], columns=[label])[label].to_pylist()
    else:
        labels, table = table[label], table.select_columns([image]).cast_column(image, Image(decode=False))
        sizes = pc.call_function("binary_length", table.data[image].flatten()[:1]).to_pylist()
    names = class_names(located.where, labels, features[label], classes)
    return [
        (TableImage(located.where, table, image, row, size), name)
        for row, (name, size) in enumerate(zip(names, sizes, strict=False))
    ]


def open_table(located: Located) -> "Dataset":
    """Open Parquet files, which `datasets` copies to its cache once, or map what save_to_disk wrote."""
    from datasets import DatasetDict, load_dataset, load_from_disk

    if located.kind == "parquet":
        _require_cache()
        with foreign_file(located.where, UNREADABLE):
            # The cache alone identifies a file by path and mtime; unlike mtime, no ctime can be copied from another
            # file.
            states = [(state.st_ino, state.st_size, state.st_ctime_ns) for state in map(os.stat, located.paths)]
            files = [escape(str(file)) for file in located.paths]
            return load_dataset("parquet", name=json_digest(states)[:16], data_files=files, split="train")
    with foreign_file(located.where, "not what save_to_disk writes"):
        data = load_from_disk(located.paths[0])
    return pick_split(located.where, data, located.split) if isinstance(data, DatasetDict) else data


def _require_cache() -> None:
    from datasets import config

    cache = Path(config.HF_DATASETS_CACHE)
    if problem := unwritable(cache / "parquet", cache, "HF_HOME"):
        raise MissingError(problem)


def pick_columns(located: Located, what: str, examples: Sequence[str], features: Mapping[str, Any]) -> tuple[str, str]:
    """The columns of examples, one of the names `examples`, and of labels, unless the place names them.

    `features` has each column's feature. The label column is the only ClassLabel, or else the first with a usual name.
    """
    labels = [name for name, feature in features.items() if hasattr(feature, "names")]
    labels = labels or [name for name in LABELS if name in features][:1]
    picked = []
    for kind, named, fits in ((what, located.example, examples), ("label", located.label, labels)):
        fitting = [name for name in ([named] if named else fits) if name in features]
        if len(fitting) != 1:
            columns = shortened(", ".join(features))
            raise InputError(
                f"{located.where}: which column is the {kind}? name it by #{what.upper()},LABEL; it has {columns}"
            )
        picked += fitting
    example, label = picked
    return example, label


def class_names(where: str, values: Sequence[Any], feature: Any, classes: Classes) -> list[str]:
    """Each row's class: its value, or that value's name in `feature`.

    The hub's copies of ImageNet disagree on two cranes, so 1,000 names whose known ones are in its order go by
    position.
    """
    names = getattr(feature, "names", None)
    if names is None:
        return plain_names(where, values)
    wnids = [entry.wnid for entry in imagenet_classes("imagenet1k")]
    labels = classes.folders
    known = [pair for pair in zip(map(folder_name, names), wnids, strict=False) if pair[0] in labels]
    if len(names) == len(wnids) and known and all(labels[name] == labels.get(wnid) for name, wnid in known):
        names = wnids
    return [names[value] if value in range(len(names)) else f"label {value}" for value in values]


def plain_names(where: str, values: Sequence[Any]) -> list[str]:
    """A label column's values as names."""
    for row, value in enumerate(values, 1):
        is_name = isinstance(value, str | int | float) and str(value).strip()
        if not is_name or value != value:  # nan differs from itself
            raise InputError(f"{where}: row {row} has no label, a name or a number; give it one, or remove the row")
    # If a table ever lacked a label, the others may have become floats.
    whole = (int(value) if isinstance(value, float) and value.is_integer() else value for value in values)
    return [composed(str(value)) for value in whole]
