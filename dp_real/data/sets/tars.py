"""Images in tar files, such as WebDataset shards or ImageNet as it is distributed, read in place.

`datasets` would copy shards (150 GB of ImageNet), knows no folders of classes or nested tar files, and passes over what
follows a damaged header.
"""

import csv
import json
import posixpath
import re
import tarfile
from collections import Counter
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
    """A file in an uncompressed tar file, by offset and size in bytes."""

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
    """The images of shards, in order; only tables of contents and labels are read.

    KEY.jpg has its class from KEY.cls, or "label" in KEY.json (`label` names others), else from its folder, a tar file
    called by a WordNet id, or ImageNet's validation numbers.
    """
    found: list[tuple[ShardFile, str]] = []
    unread: list[Path] = []
    for shard in shards:
        with foreign_file(shard, "not a whole tar file", "a compressed one must be unpacked"):
            with tarfile.open(shard, "r:") as tar:
                files = list(_files(tar, shard, f"{shard.stem}/" if WNID.fullmatch(shard.stem) else ""))
            found += _named(files, label)
            samples = {_key(file.name) for file in files if _is_image(file)}
            unread += [Path(file.name) for file in files if _key(file.name) not in samples]
    warn_unread(shards[0], unread, "images")
    return NamedImages([file for file, _ in found], [name for _, name in found])


def _named(files: Sequence[ShardFile], label: str | None) -> Iterator[tuple[ShardFile, str]]:
    images = [file for file in files if _is_image(file)]
    labels = _label_files(files, label)
    stems = [next(filter(labels.__contains__, _stems(file.name)), None) for file in images]
    unlabelled = [file for file, stem in zip(images, stems, strict=True) if stem is None]
    labelled = _labelled_images(images, stems)
    unused = [labels[stem] for stem in labels.keys() - labelled.keys()]
    _refuse_labels([file for file in unused if file.name.lower().endswith(_ending(label))], files, unlabelled)
    for file, stem in zip(images, stems, strict=True):
        if stem is None:
            yield file, _name_by_place(file)
        elif file is labelled[stem]:
            yield file, _written_name(labels[stem], label)


def _is_image(file: ShardFile) -> bool:
    return Path(file.name).suffix.lower() in ENDINGS


def _files(tar: tarfile.TarFile, shard: Path, folder: str, offset: int = 0) -> Iterator[ShardFile]:
    """Visible files, as if in `folder`, of the tar file at `offset`; those of a class's tar file follow it."""
    for name, entry in _entries(tar, shard).items():
        path = PurePosixPath(name)
        start = offset + entry.offset_data
        if path.suffix == ".tar" and WNID.fullmatch(path.stem):
            with tarfile.open(fileobj=tar.extractfile(entry), mode="r:") as inner:
                yield from _files(inner, shard, f"{folder}{path.stem}/", start)
        else:
            yield ShardFile(shard, folder + name, start, entry.size)


def _entries(tar: tarfile.TarFile, shard: Path) -> dict[str, tarfile.TarInfo]:
    """Visible files by name; a link is the file that it leads to."""
    entries: dict[str, tarfile.TarInfo] = {}
    for entry in tar:
        name = posixpath.normpath(entry.name)
        if name in entries:
            raise InputError(f"{shard}: {name} stands in it twice; leave one")
        if not entry.isdir():
            entries[name] = entry
    _check_end(tar)
    shown = [name for name in entries if not PurePosixPath(name).name.startswith(".")]
    found = {name: _followed(name, entries, shard) for name in shown}
    for name, entry in found.items():
        if not entry.isreg() or entry.issparse():
            raise InputError(f"{shard}: {name}: a device, a pipe or a file with holes; archive plain files")
    return found


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
    passed: set[str] = set()
    target = name
    while target in entries and target not in passed:
        entry = entries[target]
        if not (entry.islnk() or entry.issym()):
            return entry
        passed.add(target)
        folder = posixpath.dirname(target) if entry.issym() else ""
        target = posixpath.normpath(posixpath.join(folder, entry.linkname))
    raise InputError(
        f"{shard}: {name} is a link to {target}, which is no file in it; archive the files (tar --dereference)"
    )


def _key(name: str) -> str:
    """The name up to the first dot, which WebDataset takes for the sample's: a/01 of a/01.seg.png."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _stems(name: str) -> Iterator[str]:
    """The name without its last ending, its last two, and so on: a/22.05 and a/22 of a/22.05.png."""
    for _ in range(name.rpartition("/")[2].count(".")):
        name = name.rpartition(".")[0]
        yield name


def _label_files(files: Sequence[ShardFile], label: str | None) -> dict[str, ShardFile]:
    """The label file of each stem: STEM.cls, or else STEM.json."""
    found: dict[str, ShardFile] = {}
    for ending in (".json", _ending(label)):
        found |= {file.name[: -len(ending)]: file for file in files if file.name.lower().endswith(ending)}
    return found


def _ending(label: str | None) -> str:
    return f".{label or 'cls'}".lower()


def _written_name(file: ShardFile, label: str | None) -> str:
    with foreign_file(file, "there is no label in it", "#KEY names another key"):
        text = file.read_bytes().decode("utf-8-sig")
        is_text = file.name.lower().endswith(_ending(label))
        return text.strip() if is_text else str(json.loads(text)[label or "label"])


def _refuse_labels(unused: Sequence[ShardFile], files: Sequence[ShardFile], unlabelled: Sequence[ShardFile]) -> None:
    """Raise InputError for a label of no image."""
    near = {_key(file.name) for file in unlabelled}
    of_sample = Counter(_key(file.name) for file in files)
    for file in unused:
        if _key(file.name) in near or of_sample[_key(file.name)] == 1:
            raise InputError(f"{file}: a label without an image of its name; name both alike, or remove it")


def _labelled_images(images: Sequence[ShardFile], stems: Sequence[str | None]) -> dict[str, ShardFile]:
    """The image for each stem with a label: STEM.jpg, not STEM.mask.png."""
    groups: dict[str, list[ShardFile]] = {}
    for file, stem in zip(images, stems, strict=True):
        if stem is not None:
            groups.setdefault(stem, []).append(file)
    picked = {}
    for stem, group in groups.items():
        plain = [file for file in group if file.name[len(stem) :].lower() in ENDINGS] or group
        if len(plain) > 1:
            raise InputError(f"{plain[0]}: a sample with {len(plain)} images: which one is its label's? leave one")
        picked[stem] = plain[0]
    return picked


def _name_by_place(file: ShardFile) -> str:
    """The class of the folder, or of the number among ImageNet's validation images."""
    folder = PurePosixPath(file.name).parent.name
    if folder:
        return folder
    if IMAGE.match(file.name):
        return validation_wnid(file.name, file.shard.parent)
    raise InputError(f"{file}: an image without a label: its class must be in a .cls or .json file, or its folder")


def is_flat(folder: Path) -> bool:
    """Whether validation images lie in the folder itself."""
    return next(folder.glob("ILSVRC2012_val_*"), None) is not None


def read_flat(folder: Path) -> NamedImages:
    """The validation images of a folder, with WordNet ids."""
    files = sorted(file for file in folder.iterdir() if IMAGE.match(file.name))
    return NamedImages(files, [validation_wnid(file.name, folder) for file in files])


def validation_wnid(name: str, folder: Path) -> str:
    """The WordNet id of ILSVRC2012_val_00000001.JPEG, by Kaggle's table or the kit, up to four folders above."""
    match = IMAGE.match(name)
    wnids = _validation_wnids(folder.resolve())
    wnid = wnids.get(int(match[1])) if match else None
    if wnid is None:
        raise InputError(f"{folder}: {name} is none of the {len(wnids):,} validation images whose class is known")
    return wnid


@cache
def _validation_wnids(folder: Path) -> dict[int, str]:
    """By the images' numbers, from 1."""
    for place in (folder, *folder.parents[:MOST_FOLDERS_ABOVE]):
        with foreign_file(place, "the classes of the validation images cannot be read"):
            wnids = _wnids_at(place)
        if wnids is not None:
            return wnids
    raise MissingError(
        f"{folder}: images without class folders; put {KIT}.tar.gz (the development kit) or Kaggle's {KAGGLE}, which "
        "tell their classes, beside them"
    )


def _wnids_at(place: Path) -> dict[int, str] | None:
    """None if no file here tells the WordNet ids."""
    if (place / KAGGLE).is_file():
        return _read_kaggles(place / KAGGLE)
    if (place / TRUTH).is_file():
        return _read_kit((place / TRUTH).read_text(), (place / META).read_bytes())
    if (place / f"{KIT}.tar.gz").is_file():
        with tarfile.open(place / f"{KIT}.tar.gz") as kit:
            truth = _member(kit, TRUTH)
            meta = _member(kit, META)
        return _read_kit(truth.decode(), meta)
    return None


def _read_kaggles(file: Path) -> dict[int, str]:
    """Kaggle's table has an image's name, and its class with boxes."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [(IMAGE.match(row["ImageId"]), row["PredictionString"].split()[0]) for row in csv.DictReader(lines)]
    return {int(match[1]): wnid for match, wnid in rows if match}


def _read_kit(truth: str, meta: bytes) -> dict[int, str]:
    """The kit's list has a number for each image in order, which is not the class's place among sorted folders."""
    from scipy.io import loadmat

    synsets = loadmat(BytesIO(meta), squeeze_me=True)["synsets"]
    wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    return {number: wnids[int(line)] for number, line in enumerate(truth.split(), 1)}


def _member(kit: tarfile.TarFile, name: str) -> bytes:
    """Raises KeyError or ValueError if there is no file of that name."""
    file = kit.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read()
