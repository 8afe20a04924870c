"""Images in tar files, such as WebDataset shards or ImageNet as it is distributed, read in place.

`datasets` would copy shards (150 GB of ImageNet), knows no folders of classes, links or nested tar files, and passes
over what follows a damaged header.
"""

import csv
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from dp_base.errors import InputError, MissingError
from dp_base.reading import foreign_file
from dp_real.data.sets.class_names import warn_unread
from dp_real.data.sets.images import ENDINGS, NamedImages

IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})")
WNID = re.compile(r"n\d{8}")
KAGGLE = "LOC_val_solution.csv"
KIT = "ILSVRC2012_devkit_t12"
TRUTH = f"{KIT}/data/ILSVRC2012_validation_ground_truth.txt"
META = f"{KIT}/data/meta.mat"
MOST_FOLDERS_ABOVE = 4


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file in an uncompressed tar file; offset and size in bytes."""

    shard: Path
    name: str = field(compare=False)
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        with open(self.shard, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        return f"{self.shard}: {self.name}"


def read_shards(shards: Sequence[Path], label: str | None = None) -> NamedImages:
    """The images, in order; only tables of contents and labels are read.

    KEY.jpg has its class from KEY.cls, or "label" in KEY.json (`label` names others), else from its folder, a tar file
    called by a WordNet id, or ImageNet's validation numbers.
    """
    found: list[tuple[ShardFile, str]] = []
    unread: list[Path] = []
    for shard in shards:
        not_whole = foreign_file(shard, "not a whole tar file", "a compressed one must be unpacked")
        with not_whole, tarfile.open(shard, "r:") as tar:
            inside = _files(tar, shard, f"{shard.stem}/" if WNID.fullmatch(shard.stem) else "")
            files = {file.name: file for file in inside}
        images = [file for name, file in files.items() if Path(name).suffix.lower() in ENDINGS]
        found += _named(images, files, label)
        samples = {_key(file.name) for file in images}
        unread += [Path(name) for name in files if _key(name) not in samples]
    warn_unread(shards[0], unread, "images")
    return NamedImages([file for file, _ in found], [name for _, name in found])


def _named(
    images: Sequence[ShardFile], files: Mapping[str, ShardFile], label: str | None
) -> Iterator[tuple[ShardFile, str]]:
    endings = (f".{label or 'cls'}", ".json")
    labelled: dict[str, ShardFile] = {}
    for file in images:
        stem, key = file.name.rpartition(".")[0], _key(file.name)
        written = [base + ending for base in (stem, key) for ending in endings if base + ending in files]
        if not written:
            yield file, _name_by_place(file)
        elif not written[0].startswith(f"{stem}.") and any(key + ending in files for ending in ENDINGS):
            continue  # KEY.mask.png beside KEY.jpg
        elif labelled.setdefault(written[0], file) is not file:
            raise InputError(f"{file}: another image has its label, too: which one is meant? leave one")
        else:
            yield file, _written_name(files[written[0]], label)


def _key(name: str) -> str:
    """Up to the first dot, as WebDataset has it: a/01 of a/01.seg.png."""
    folder, _, file = name.rpartition("/")
    return posixpath.join(folder, file.partition(".")[0])


def _written_name(file: ShardFile, label: str | None) -> str:
    with foreign_file(file, "there is no label in it", "#KEY names another key"):
        text = file.read_bytes().decode("utf-8-sig")
        return str(json.loads(text)[label or "label"]) if file.name.endswith(".json") else text.strip()


def _name_by_place(file: ShardFile) -> str:
    folder = PurePosixPath(file.name).parent.name
    if folder:
        return folder
    if IMAGE.match(file.name):
        return _validation_wnid(file.name, file.shard.parent)
    raise InputError(f"{file}: an image without a label: its class must be in a .cls or .json file, or its folder")


def _files(tar: tarfile.TarFile, shard: Path, folder: str, offset: int = 0) -> Iterator[ShardFile]:
    """Visible files, as if in `folder`, of the tar file at `offset`; those of a class's tar file follow it."""
    entries: dict[str, tarfile.TarInfo] = {}
    for entry in tar:
        name = posixpath.normpath(entry.name)
        if name in entries:
            raise InputError(f"{shard}: {name} stands in it twice; leave one")
        if not entry.isdir():
            entries[name] = entry
    _check_end(tar)
    for name in entries:
        path = PurePosixPath(name)
        if path.name.startswith("."):
            continue
        entry = _followed(name, entries, shard)
        if not entry.isreg() or entry.issparse():
            raise InputError(f"{shard}: {name}: a device, a pipe or a file with holes; archive plain files")
        start = offset + entry.offset_data
        if path.suffix == ".tar" and WNID.fullmatch(path.stem):
            with tarfile.open(fileobj=tar.extractfile(entry), mode="r:") as inner:
                yield from _files(inner, shard, f"{folder}{path.stem}/", start)
        else:
            yield ShardFile(shard, folder + name, start, entry.size)


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise ReadError unless zeros alone follow the last entry, at least a block."""
    file: Any = tar.fileobj
    file.seek(tar.offset)
    size = 0
    while chunk := file.read(2**20):
        if chunk.strip(tarfile.NUL):
            raise tarfile.ReadError(f"behind byte {tar.offset:,} it is damaged, or another one is joined to it")
        size += len(chunk)
    if size < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("its end is missing")


def _followed(name: str, entries: Mapping[str, tarfile.TarInfo], shard: Path) -> tarfile.TarInfo:
    target = name
    for _ in entries:  # no chain is longer
        entry = entries.get(target)
        if entry is None:
            break
        if not (entry.islnk() or entry.issym()):
            return entry
        folder = posixpath.dirname(target) if entry.issym() else ""
        target = posixpath.normpath(posixpath.join(folder, entry.linkname))
    raise InputError(
        f"{shard}: {name} is a link to {target}, which is no file in it; archive the files (tar --dereference)"
    )


def is_flat(folder: Path) -> bool:
    """Whether validation images lie in the folder itself."""
    return next(folder.glob("ILSVRC2012_val_*"), None) is not None


def read_flat(folder: Path) -> NamedImages:
    """A folder's validation images, with WordNet ids."""
    files = sorted(file for file in folder.iterdir() if IMAGE.match(file.name))
    return NamedImages(files, [_validation_wnid(file.name, folder) for file in files])


def _validation_wnid(name: str, folder: Path) -> str:
    """The WordNet id of ILSVRC2012_val_00000001.JPEG, by Kaggle's table or the kit, up to four folders above."""
    wnids = _validation_wnids(folder.resolve())
    number = int(name.partition(".")[0].rpartition("_")[2])
    if number not in wnids:
        raise InputError(f"{folder}: {name} is none of the {len(wnids):,} validation images whose class is known")
    return wnids[number]


@cache
def _validation_wnids(folder: Path) -> dict[int, str]:
    """By the images' numbers, from 1."""
    for place in (folder, *folder.parents[:MOST_FOLDERS_ABOVE]):
        with foreign_file(place, "the classes of the validation images cannot be read"):
            packed = place / f"{KIT}.tar.gz"
            if (place / KAGGLE).is_file():
                rows = csv.DictReader((place / KAGGLE).read_text(encoding="utf-8").splitlines())
                return {int(row["ImageId"].rpartition("_")[2]): row["PredictionString"].split()[0] for row in rows}
            if (place / TRUTH).is_file():
                return _read_kit((place / TRUTH).read_bytes(), (place / META).read_bytes())
            if packed.is_file():
                with tarfile.open(packed) as kit:
                    truth, meta = (kit.extractfile(name) for name in (TRUTH, META))
                    if truth and meta:
                        return _read_kit(truth.read(), meta.read())
    raise MissingError(
        f"{folder}: images without class folders; put {KIT}.tar.gz (the development kit) or Kaggle's {KAGGLE}, which "
        "tell their classes, beside them"
    )


def _read_kit(truth: bytes, meta: bytes) -> dict[int, str]:
    """The kit's numbers, one for each image in order, are not places among sorted folders."""
    from scipy.io import loadmat

    synsets = loadmat(BytesIO(meta), squeeze_me=True)["synsets"]
    wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    return {number: wnids[int(line)] for number, line in enumerate(truth.decode().split(), 1)}
