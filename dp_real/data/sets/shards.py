"""Images in WebDataset shards and other tar files. They are read in place, without unpacking."""

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from dp_base.errors import InputError
from dp_base.reading import foreign_file
from dp_real.data.sets.class_names import warn_unread
from dp_real.data.sets.encoded import ENDINGS, NamedImages
from dp_real.data.sets.ilsvrc import IMAGE, WNID, validation_wnid


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file inside an uncompressed tar file. `offset` and `size` are in bytes."""

    shard: Path
    name: str
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """Read the bytes of the file."""
        with open(self.shard, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        return f"{self.shard}: {self.name}"


def read_shards(shards: Sequence[Path], label: str | None = None) -> NamedImages:
    """Find the images of WebDataset shards, in order. Only the tables of contents and the labels are read.

    The class of KEY.jpg is the text of KEY.cls, or else the value of "label" in KEY.json. `label` names another ending
    than cls, and another key than "label". An image without these files has its class from elsewhere:

    - from its folder inside the tar file, so that an archive of class folders works, too;
    - from a tar file that is called by a WordNet id, as ImageNet's are, also if it lies within another one;
    - from a file beside the shard, if it is one of ImageNet's validation images (see dp_real.data.sets.ilsvrc).

    Raises InputError for a broken or compressed tar file, and for an image without a label.
    """
    sources: list[ShardFile] = []
    names: list[str] = []
    unread: list[Path] = []
    for shard in shards:
        with foreign_file(shard, "not a whole tar file", "a compressed one must be unpacked"):
            for sample in _samples(shard):
                images = [file for file in sample.values() if Path(file.name).suffix.lower() in ENDINGS]
                if not images:
                    unread += [Path(file.name) for file in sample.values()]
                    continue
                name = _written_name(sample, label)
                if name is not None:
                    sources.append(_labelled_image(images))
                    names.append(name)
                else:
                    sources += images
                    names += [_name_by_place(file) for file in images]
    warn_unread(shards[0], unread, "images")
    return NamedImages(sources, names)


def _samples(shard: Path) -> Iterator[dict[str, ShardFile]]:
    """Yield the files of each sample by their endings. A sample is consecutive files with equal keys (see `_split`)."""
    with tarfile.open(shard, "r:") as tar:
        files = _files(tar, shard, f"{shard.stem}/" if WNID.fullmatch(shard.stem) else "")
        for key, sample in groupby(files, key=lambda file: _split(file.name)[0]):
            is_hidden = key.endswith("/")  # the name begins with a dot
            if not is_hidden:
                yield {_split(file.name)[1]: file for file in sample}


def _files(tar: tarfile.TarFile, shard: Path, folder: str, offset: int = 0) -> Iterator[ShardFile]:
    """Yield the files of a tar file, as if they lay in `folder`.

    The tar file begins at `offset` of `shard`. If it contains a class's tar file, the files of that one follow, in a
    folder of their own.
    """
    for entry in tar:
        if not entry.isfile():
            continue
        name = PurePosixPath(entry.name)
        start = offset + entry.offset_data
        if name.suffix == ".tar" and WNID.fullmatch(name.stem):
            with tarfile.open(fileobj=tar.extractfile(entry), mode="r:") as inner:
                yield from _files(inner, shard, f"{folder}{name.stem}/", start)
        else:
            yield ShardFile(shard, folder + entry.name, start, entry.size)


def _split(name: str) -> tuple[str, str]:
    """Split a file's name at the first dot into the sample's key and the ending: a/01.cls into 'a/01' and 'cls'."""
    folder, _, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return f"{folder}/{stem}", ending


def _written_name(sample: dict[str, ShardFile], label: str | None) -> str | None:
    """Read the class name from a sample's label file. Return None if the sample has no such file."""
    ending = label or "cls"
    file = sample.get(ending) or sample.get("json")
    if file is None:
        return None
    with foreign_file(file, "there is no label in it", "#KEY names another key"):
        text = file.read_bytes().decode()
        return text.strip() if ending in sample else str(json.loads(text)[label or "label"])


def _labelled_image(images: Sequence[ShardFile]) -> ShardFile:
    """Pick the image that a sample's label is for: the one called KEY.jpg, not KEY.mask.png.

    Raises InputError if there are two.
    """
    plain = [file for file in images if f".{_split(file.name)[1].lower()}" in ENDINGS] or images
    if len(plain) > 1:
        raise InputError(f"{plain[0]}: a sample with {len(plain)} images: which one is its label's? leave one")
    return plain[0]


def _name_by_place(file: ShardFile) -> str:
    """Return the class name of an image by its folder, or by its number among ImageNet's validation images."""
    folder = PurePosixPath(file.name).parent.name
    if folder:
        return folder
    if IMAGE.match(file.name):
        return validation_wnid(file.name, file.shard.parent)
    raise InputError(f"{file}: an image without a label: its class must be in a .cls or .json file, or its folder")
