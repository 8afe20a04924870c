"""Data sets of the library `datasets`, by its save_to_disk or in Parquet, with a label in each row."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet as pq

from dp_base.errors import InputError
from dp_base.reading import foreign_file, shortened
from dp_real.data.sets.class_names import Classes, folder_name
from dp_real.data.sets.imagenet import imagenet_classes
from dp_real.data.sets.images import NamedImages, read_regular

if TYPE_CHECKING:
    from datasets import Dataset, Features

    from dp_real.data.sets.places import Located

UNREADABLE = "not Parquet files that `datasets` can read"
LABELS = ("label", "cls", "wnid", "class", "class_name")
"""Usual names of a label column. They are tried in this order if no column is a ClassLabel."""


class Columns(NamedTuple):
    """Columns by #IMAGE,LABEL or #LABEL; None is found by its type or a usual name."""

    image: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class TableImage:
    """An encoded image in a row of the data set `place`."""

    place: str
    data: "Dataset"
    column: str
    row: int

    def read_bytes(self) -> bytes:
        """Raises ValueError if the row has no image."""
        cell = self.data[self.row][self.column]
        if not cell or not (cell["bytes"] or cell["path"]):
            raise ValueError("the row has no image")
        return cell["bytes"] or read_regular(Path(cell["path"]))

    def __str__(self) -> str:
        return f"{self.place}: row {self.row + 1}"


def read_rows(place: str, data: "Dataset", columns: Columns, classes: Classes) -> NamedImages:
    """The images in order."""
    from datasets import Image

    image, label = pick_columns(place, data.features, columns)
    encoded: Any = data.select_columns([image]).cast_column(image, Image(decode=False))
    images = [TableImage(place, encoded, image, row) for row in range(len(data))]
    return NamedImages(images, class_names(place, data[label], data.features[label], classes))


def pick_columns(place: str, features: "Features", columns: Columns) -> tuple[str, str]:
    """The image and the label column."""
    from datasets import ClassLabel, Image

    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    image = pick(place, "image", columns.image, images, features, ("image",))
    label = pick(place, "label", columns.label, labels, features, LABELS)
    return image, label


def pick(
    place: str,
    what: str,
    asked: str | None,
    fits: Sequence[str],
    there: Collection[str],
    usual: Sequence[str],
    example: str = "IMAGE",
) -> str:
    """The column `asked` for, else the only one that `fits`, else the first `usual` one; messages say `what`."""
    if asked:
        found = [name for name in there if name == asked]
    elif fits:
        found = list(fits)
    else:
        found = [name for name in usual if name in there][:1]
    if len(found) != 1:
        columns = shortened(", ".join(there))
        raise InputError(f"{place}: which column is the {what}? say so by #{example},LABEL; it has {columns}")
    return found[0]


def class_names(place: str, values: Sequence[Any], feature: Any, classes: Classes) -> list[str]:
    """Each row's class: its value, or the name in `feature` there.

    The hub's copies of ImageNet disagree on two cranes: 1,000 names in ImageNet's order go by position.
    """
    names = getattr(feature, "names", None)
    if names is None:
        return plain_names(place, values)
    wnids = [entry.wnid for entry in imagenet_classes("imagenet1k")]
    if _are_imagenets(names, wnids, classes):
        names = wnids
    beyond = [value for value in values if value is not None and value >= len(names)]
    if beyond:
        raise InputError(f"{place}: a label is {beyond[0]}, but the label column names only 0 to {len(names) - 1}")
    return [names[value] if value is not None and value >= 0 else str(value) for value in values]


def plain_names(place: str, values: Sequence[Any]) -> list[str]:
    """A label column as names."""
    for row, value in enumerate(values, 1):
        if value is None or value == "" or value != value:  # nan is not equal to itself
            raise InputError(f"{place}: row {row} has no label; give it one, or remove the row")
    # Where a table once lacked a label, its others may have become floats.
    return [str(int(value)) if isinstance(value, float) and value.is_integer() else str(value) for value in values]


def _are_imagenets(names: Sequence[str], wnids: Sequence[str], classes: Classes) -> bool:
    if len(names) != len(wnids) or wnids[0] not in classes.folders:
        return False
    pairs = [(folder_name(name), wnid) for name, wnid in zip(names, wnids, strict=True)]
    known = [(name, wnid) for name, wnid in pairs if name in classes.folders]
    return bool(known) and all(classes.folders[name] == classes.folders[wnid] for name, wnid in known)


def open_table(found: "Located") -> "Dataset":
    """Open Parquet files, which `datasets` copies to its cache once, or map what save_to_disk wrote."""
    from datasets import DatasetDict, load_dataset, load_from_disk

    if found.kind == "parquet":
        with foreign_file(found.where, UNREADABLE):
            return load_dataset("parquet", data_files=[str(file) for file in found.paths], split="train")
    with foreign_file(found.where, "not what save_to_disk writes"):
        data = load_from_disk(found.paths[0])
    return pick_split(found.where, data, found.split) if isinstance(data, DatasetDict) else data


def parquet_class_names(place: str, files: Sequence[Path], columns: Columns, classes: Classes) -> list[str]:
    """Each row's class; only labels are read, and nothing is copied."""
    from datasets import Features

    with foreign_file(place, UNREADABLE):
        features = Features.from_arrow_schema(pq.read_schema(files[0]))
        _, label = pick_columns(place, features, columns)
        table = pq.read_table([str(file) for file in files], columns=[label])
        return class_names(place, table[label].to_pylist(), features[label], classes)


def pick_split(place: str, splits: Mapping[Any, Any], split: str | None) -> Any:
    """The split of that name; None: the only one."""
    if split is None and len(splits) == 1:
        (only,) = splits.values()
        return only
    if split not in splits:
        asked = f"no split {split}" if split else "which split?"
        raise InputError(f"{place}: {asked}; add one of {', '.join('@' + str(name) for name in splits)}")
    return splits[split]


def split_files(place: str, folder: Path, split: str | None) -> list[Path]:
    """A split's files, as `datasets` tells by their names."""
    from datasets import load_dataset_builder

    files = load_dataset_builder("parquet", data_dir=str(folder)).config.data_files
    return [Path(file) for file in pick_split(place, files or {}, split)]
