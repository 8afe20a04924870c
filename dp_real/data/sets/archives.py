"""Real images in WebDataset shards, and in data sets of the library `datasets`, on disk or on the hub.

Both readers return encoded images, which are read on demand, and a class name or number for each.
"""

import json
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet as pq

from dp_base.errors import InputError, MissingError
from dp_real.data.imagenet.classes import imagenet_classes
from dp_real.data.sets.class_names import Classes, folder_name, warn_unread
from dp_real.data.sets.ilsvrc import IMAGE, WNID, validation_wnid
from dp_real.data.sets.images import ENDINGS, EncodedImage, read_regular

if TYPE_CHECKING:
    from datasets import Dataset, Features

LABELS = ("label", "cls", "wnid", "class", "class_name")  # columns to try, in this order, if none is a ClassLabel


class Columns(NamedTuple):
    """The columns of images and labels, as #IMAGE,LABEL or #LABEL names them. None: found by type or usual name."""

    image: str | None = None
    label: str | None = None


class Named(NamedTuple):
    """Encoded images, and the class name or number of each."""

    sources: Sequence[EncodedImage]
    names: list[str]


# shards


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an uncompressed tar file, read in place."""

    shard: Path
    name: str
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """The bytes of the file."""
        with open(self.shard, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        return f"{self.shard}: {self.name}"


def read_shards(shards: Sequence[Path], label: str | None = None) -> Named:
    """The images of WebDataset shards, in order. Reads only the tables of contents and the labels.

    The class of KEY.jpg is the text of KEY.cls, else "label" in KEY.json; `label` names another ending or key. Without
    these files it is the image's folder inside the tar file, so an archive of class folders works too. For ImageNet's
    own files it is the WordNet id that a tar file is called by, also one within another; or see ilsvrc.
    Raises InputError for a broken or compressed tar file, and for an image without a label.
    """
    sources, names, unread = [], [], []
    for shard in shards:
        try:
            for sample in _samples(shard):
                images = [file for file in sample.values() if Path(file.name).suffix.lower() in ENDINGS]
                if images:
                    name = _name(sample, label)
                    images = images if name is None else [_only(images)]
                    sources += images
                    names += [name if name is not None else _folder(file) for file in images]
                unread += [] if images else [Path(file.name) for file in sample.values()]
        except tarfile.ReadError as error:
            raise InputError(f"{shard}: not a whole tar file: {error}; a compressed one must be unpacked") from error
    warn_unread(shards[0], unread, "images")
    return Named(sources, names)


def _only(images: Sequence[Member]) -> Member:
    """The image of a sample that has a label: the one called KEY.jpg, not KEY.mask.png. Raises InputError for two."""
    plain = [file for file in images if f".{_split(file.name)[1].lower()}" in ENDINGS] or images
    if len(plain) > 1:
        raise InputError(f"{plain[0]}: a sample with {len(plain)} images: which one is its label's? leave one")
    return plain[0]


def _samples(shard: Path) -> Iterator[dict[str, Member]]:
    """The files of each sample, by ending. A sample is consecutive files with equal names up to the first dot."""
    with tarfile.open(shard, "r:") as tar:
        files = _files(tar, shard, f"{shard.stem}/" if WNID.fullmatch(shard.stem) else "")
        for key, sample in groupby(files, key=lambda file: _split(file.name)[0]):
            if not key.endswith("/"):  # hidden files
                yield {_split(file.name)[1]: file for file in sample}


def _files(tar: tarfile.TarFile, shard: Path, folder: str, offset: int = 0) -> Iterator[Member]:
    """The files of a tar file that begins at `offset` of `shard`, in `folder`; of a class's tar file, in its own."""
    for entry in tar:
        name = PurePosixPath(entry.name)
        if entry.isfile() and name.suffix == ".tar" and WNID.fullmatch(name.stem):
            with tarfile.open(fileobj=tar.extractfile(entry), mode="r:") as inner:
                yield from _files(inner, shard, f"{folder}{name.stem}/", offset + entry.offset_data)
        elif entry.isfile():
            yield Member(shard, folder + entry.name, offset + entry.offset_data, entry.size)


def _split(name: str) -> tuple[str, str]:
    """The sample's key and the file's ending: 'a/01' and 'cls' for a/01.cls."""
    folder, _, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return f"{folder}/{stem}", ending


def _name(sample: dict[str, Member], label: str | None) -> str | None:
    ending = label or "cls"
    file = sample.get(ending) or sample.get("json")
    if file is None:
        return None
    try:
        text = file.read_bytes().decode()
        return text.strip() if ending in sample else str(json.loads(text)[label or "label"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: there is no label in it ({error!r}); #KEY names another key") from error


def _folder(file: Member) -> str:
    folder = PurePosixPath(file.name).parent.name
    if not folder and IMAGE.match(file.name):
        return validation_wnid(file.name, file.shard.parent)
    if not folder:
        raise InputError(f"{file}: an image without a label: its class must be in a .cls or .json file, or its folder")
    return folder


# data sets


@dataclass(frozen=True, slots=True)
class Cell:
    """An image in a row of a data set."""

    place: str
    data: "Dataset"
    column: str
    row: int

    def read_bytes(self) -> bytes:
        """The encoded image. Raises ValueError if the row has none."""
        cell = self.data[self.row][self.column]
        if not cell or not (cell["bytes"] or cell["path"]):
            raise ValueError("the row has no image")
        return cell["bytes"] or read_regular(Path(cell["path"]))

    def __str__(self) -> str:
        return f"{self.place}: row {self.row}"


def read_rows(place: str, data: "Dataset", columns: Columns, classes: Classes) -> Named:
    """The images of a data set, in order. Raises InputError if its image or label column cannot be told."""
    from datasets import Image

    image, label = pick_columns(place, data.features, columns)
    encoded = data.select_columns([image]).cast_column(image, Image(decode=False))
    cells = [Cell(place, encoded, image, row) for row in range(len(data))]
    return Named(cells, call(data[label], data.features[label], classes))


def pick_columns(place: str, features: "Features", columns: Columns) -> tuple[str, str]:
    """The names of the image column and the label column. Raises InputError if one cannot be told."""
    from datasets import ClassLabel, Image

    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    image = pick(place, "image", columns.image, images, features, ("image",))
    return image, pick(place, "label", columns.label, labels, features, LABELS)


def pick(
    place: str, what: str, asked: str | None, fits: Sequence[str], there: Collection[str], usual: Sequence[str]
) -> str:
    """The column of those `there` that is asked for by name, else the only one that fits, else one of a usual name.

    Raises InputError, which says `what` is sought, if there is none or several.
    """
    found = (
        [name for name in there if name == asked] if asked else fits or [name for name in usual if name in there][:1]
    )
    if len(found) != 1:
        raise InputError(
            f"{place}: which column is the {what}? say so by #{'TEXT' if what == 'text' else 'IMAGE'},LABEL; it has "
            f"{', '.join(there)}"
        )
    return found[0]


def call(values: Sequence[Any], feature: Any, classes: Classes) -> list[str]:
    """The class of each row of a label column: the name that its feature gives, else the value itself.

    The hub's copies of ImageNet disagree on the names of its two cranes. So if there are 1,000 names, and those that
    are known are in ImageNet's order, the position tells the class.
    """
    names = getattr(feature, "names", None)
    if names is None:
        return [str(value) for value in values]
    wnids = [entry.wnid for entry in imagenet_classes("imagenet1k")]
    if len(names) == len(wnids) and wnids[0] in classes.folders:
        known = [(folder_name(name), wnid) for name, wnid in zip(names, wnids, strict=True)]
        known = [(name, wnid) for name, wnid in known if name in classes.folders]
        if known and all(classes.folders[name] == classes.folders[wnid] for name, wnid in known):
            names = wnids
    return [names[value] if value is not None and value >= 0 else str(value) for value in values]


def open_saved(place: str, folder: Path, split: str | None) -> "Dataset":
    """Open what Dataset.save_to_disk or DatasetDict.save_to_disk wrote, memory-mapped.

    Raises InputError for anything else, and if `split` does not pick one of its splits.
    """
    from datasets import DatasetDict, load_from_disk

    try:
        data = load_from_disk(folder)
    except (OSError, ValueError, LookupError) as error:
        raise InputError(f"{place}: not what save_to_disk writes: {error}") from error
    return pick_split(place, data, split) if isinstance(data, DatasetDict) else data


def open_parquet(place: str, files: Sequence[Path]) -> "Dataset":
    """Open Parquet files. `datasets` copies them to its cache once, and memory-maps the copy.

    Raises InputError if it cannot read them.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset("parquet", data_files=[str(file) for file in files], split="train")
    except (OSError, ValueError, DatasetsError) as error:
        raise InputError(f"{place}: not Parquet files that `datasets` can read: {error}") from error


def parquet_names(place: str, files: Sequence[Path], columns: Columns, classes: Classes) -> list[str]:
    """The class of each row of Parquet files. Reads the labels only, without a copy in the cache.

    Raises InputError if the files cannot be read, or if the label column cannot be told.
    """
    from datasets import Features

    try:
        features = Features.from_arrow_schema(pq.read_schema(files[0]))
        _, label = pick_columns(place, features, columns)
        table = pq.read_table([str(file) for file in files], columns=[label])
        return call(table[label].to_pylist(), features[label], classes)
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: not Parquet files that `datasets` can read: {error}") from error


def pick_split(place: str, splits: Mapping[Any, Any], split: str | None) -> Any:
    """The value of a split. None picks the only one. Raises InputError if there is no such split, or several."""
    if split is None and len(splits) == 1:
        (only,) = splits.values()
        return only
    if split not in splits:
        asked = f"no split {split}" if split else "which split?"
        raise InputError(f"{place}: {asked}; add one of {', '.join('@' + str(name) for name in splits)}")
    return splits[split]


def split_files(place: str, folder: Path, split: str | None) -> list[Path]:
    """The data files of a split in a folder. `datasets` tells the split by their names."""
    from datasets import load_dataset_builder

    files = load_dataset_builder("parquet", data_dir=str(folder)).config.data_files
    return [Path(file) for file in pick_split(place, files or {}, split)]


# the hub


@dataclass(frozen=True)
class HubSet:
    """A data set of the hub, or a folder in it, at a revision."""

    id: str
    folder: str | None = None
    revision: str | None = None

    def snapshot(self, split: str | None, fetch: bool) -> Path:
        """The local folder of its Parquet or tar files. With `fetch`, those not in the hub's cache are fetched.

        With a split, only files with its name in their paths are fetched. Raises MissingError, which says what to do,
        if they cannot be had, InputError if there are no such files.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

        page = f"https://huggingface.co/datasets/{self.id}"
        part = (f"{self.folder}/" if self.folder else "") + (f"*{split}*" if split else "*")
        command = f"hf download {self.id} --repo-type dataset --include '{part}'"
        command += f" --revision {self.revision}" if self.revision else ""
        try:
            root = snapshot_download(
                self.id,
                repo_type="dataset",
                revision=self.revision,
                allow_patterns=[part + ".parquet", part + ".tar"],
                local_files_only=not fetch,
            )
        except GatedRepoError as error:
            raise MissingError(f"{page} is gated: accept its terms there, hf auth login, then {command}") from error
        except RepositoryNotFoundError as error:
            raise MissingError(f"{page} is not there, or private: mind the name, or hf auth login") from error
        except (OSError, HfHubHTTPError) as error:
            raise MissingError(f"{self.id} is not in the hub's cache: where there is a network, {command}") from error
        folder = Path(root, self.folder or "")
        if not any(any(folder.rglob(f"*.{kind}")) for kind in ("parquet", "tar")):
            raise InputError(f"{page} has no Parquet or tar files that are called {part}")
        return folder


# labels


def to_labels(named: Named, classes: Classes) -> list[int | None]:
    """The label of each image; None if the task leaves its class out. Raises InputError for an unknown class.

    A number means what it means as the name of a class folder. For a part of ImageNet, numbers that are all smaller
    than its number of classes are taken as its own labels instead.
    """
    called = dict(zip(reversed(named.names), reversed(named.sources), strict=True))  # the first image of each name
    part = None in classes.folders.values()
    if part and all(name.isdecimal() and int(name) < len(classes.names) for name in called):
        return [int(name) for name in named.names]
    labels = {name: classes.label(name, source) for name, source in called.items()}
    return [labels[name] for name in named.names]
