"""Reads images in tar files, such as WebDataset shards, in place, and the labels of ImageNet's flat validation images.

`datasets` would copy shards (150 GB of ImageNet), knows no class folders, and skips what follows a damaged header.
"""

import csv
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from dp_base.errors import InputError, MissingError
from dp_base.reading import foreign_file
from dp_real.data.sets.class_names import ENDINGS, warn_unread
from dp_real.data.sets.places import Located

BEYOND_KEY = re.compile(r"[.][^/]*$")
"""The part of a name that WebDataset does not count as the sample's key: .seg.png in a/01.seg.png."""
KAGGLE = "LOC_val_solution.csv"
MAX_FOLDERS_ABOVE = 4


class ShardFile(NamedTuple):
    """A file in an uncompressed tar file; offset and size in bytes."""

    shard: Path
    name: str
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        with open(self.shard, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        return f"{self.shard}: {self.name}"


def read_images(located: Located) -> list[tuple[ShardFile | Path, str]]:
    """Images of shards, or ImageNet's validation images, and their classes, in order.

    Only headers and labels are read.

    The class of KEY.jpg is in KEY.cls, or in KEY.json as "label" or `located.label`, or is its folder.
    """
    if located.kind == "flat":
        return _validation_images(located.paths)
    named = []
    unread = []
    for shard in located.paths:
        not_whole = foreign_file(shard, "not a whole tar file", "a compressed one must be unpacked")
        with not_whole, tarfile.open(shard, "r:") as tar:
            files = _files(tar, shard)
        images = [file for name, file in files.items() if Path(name).suffix.lower() in ENDINGS]
        named += _named(images, files, located.label)
        samples = {BEYOND_KEY.sub("", file.name) for file in images}
        unread += [Path(name) for name in files if BEYOND_KEY.sub("", name) not in samples]
    warn_unread(located.paths[0], unread, "images")
    return named


def _named(
    images: Sequence[ShardFile], files: Mapping[str, ShardFile], label: str | None
) -> Iterator[tuple[ShardFile, str]]:
    taken = set()
    for file in images:
        stem, key = file.name.rpartition(".")[0], BEYOND_KEY.sub("", file.name)
        names = [base + ending for base in (stem, key) for ending in (f".{label or 'cls'}", ".json")]
        written = next((name for name in names if name in files), None)
        if written is None:
            if not (folder := PurePosixPath(file.name).parent.name):
                raise InputError(
                    f"{file}: an image without a label: its class must be in a .cls or .json file, or its folder"
                )
            yield file, folder
        elif written not in names[:2] and any(key + ending in files for ending in ENDINGS):
            continue  # KEY.mask.png beside KEY.jpg
        elif written in taken:
            raise InputError(f"{file}: another image has the same label file: keep only one of them")
        else:
            taken.add(written)
            yield file, _written_name(files[written], label)


def _written_name(file: ShardFile, label: str | None) -> str:
    with foreign_file(file, "there is no label in it", "#KEY names another key"):
        text = file.read_bytes().decode("utf-8-sig")
        return str(json.loads(text)[label or "label"]) if file.name.endswith(".json") else text.strip()


def _files(tar: tarfile.TarFile, shard: Path) -> dict[str, ShardFile]:
    """The visible files, by name."""
    members = {}
    for entry in tar:
        name = posixpath.normpath(entry.name)
        if name in members:
            raise InputError(f"{shard}: {name} is in it twice; keep one")
        if entry.isdir() or posixpath.basename(name).startswith("."):
            continue
        if not entry.isreg() or entry.issparse():
            raise InputError(
                f"{shard}: {name}: a link, a device, a pipe or a file with holes; archive plain files (tar "
                "--dereference --hard-dereference)"
            )
        members[name] = ShardFile(shard, name, entry.offset_data, entry.size)
    _check_end(tar)
    return members


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise ReadError unless only zeros follow the last entry, at least one block."""
    file: Any = tar.fileobj
    file.seek(tar.offset)
    size = 0
    while chunk := file.read(2**20):
        if chunk.strip(tarfile.NUL):
            raise tarfile.ReadError(f"after byte {tar.offset:,} it is damaged, or another file is appended")
        size += len(chunk)
    if size < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("its end is missing")


def _validation_images(images: Sequence[Path]) -> list[tuple[ShardFile | Path, str]]:
    """DIR/ILSVRC2012_val_00000001.JPEG, …, and WordNet ids, by Kaggle's table in DIR or up to four above."""
    folder = images[0].parent.resolve()
    for place in (folder, *folder.parents[:MAX_FOLDERS_ABOVE]):
        if (table := place / KAGGLE).is_file():
            with foreign_file(table):
                rows = csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines())
                wnids = {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
            for image in images:
                if image.stem not in wnids:
                    raise InputError(f"{image} is none of the {len(wnids):,} validation images whose class is known")
            return [(image, wnids[image.stem]) for image in images]
    raise MissingError(
        f"{folder}: images without class folders; put Kaggle's {KAGGLE}, which has their classes, beside them, or "
        "sort them into folders"
    )
