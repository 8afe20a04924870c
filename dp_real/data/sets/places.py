"""Sets of real examples: how a configuration names them, how they are found, and how they are read.

    DIR                       class folders, DIR/CLASS/IMAGE.jpg; or what `datasets` saved; or Parquet or tar files
                              or ImageNet's validation images without folders (dp_real.data.sets.ilsvrc)
    shards/val-{00..63}.tar   WebDataset shards: a file, a pattern (* and {00..63}); likewise .parquet; or ImageNet's
                              own tar files, ILSVRC2012_img_val.tar, ILSVRC2012_img_train.tar, n01440764.tar
    texts.csv, texts.jsonl    texts, a row each (dp_real.data.sets.texts)
    hub:ORG/NAME              a data set of the hub: /FOLDER of it, :REVISION, fetched unless it is in the hub's cache

@SPLIT after it picks one of several splits, and #LABEL or #IMAGE,LABEL names the columns, as in
hub:axiong/imagenet-r@test#wnid. Texts lie in DIR/CLASS/TEXT.txt, and #TEXT,LABEL names their columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Literal

import torch

from dp_base.errors import InputError, MissingError
from dp_real.data.sets import archives, ilsvrc
from dp_real.data.sets.archives import Columns, HubSet, Named
from dp_real.data.sets.class_names import Classes, visible_files
from dp_real.data.sets.images import ENDINGS, ImageFiles, ImageSet, read_folder

SUFFIX = r"(?:@(?P<split>[\w.-]+))?(?:#(?:(?P<image>[\w.-]+),)?(?P<label>[\w.-]+))?"
HUB = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+)(?:/(?P<folder>[^:@#]+))?(?::(?P<revision>[^@#]+))?" + SUFFIX)
LOCAL = re.compile(r"(?P<path>.+?)" + SUFFIX)
MOST_FILES = 100_000  # that ranges may mean
Layout = Literal["folders", "flat", "saved", "parquet", "tar", "csv", "jsonl"]
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class Located:
    """A set that was found. paths: one folder (of images, or what save_to_disk wrote), or files of one kind."""

    where: str
    kind: Layout
    paths: list[Path]
    split: str | None
    columns: Columns


def locate(where: str, fetch: bool = True) -> Located:
    """Find a set without reading it. With `fetch`, a hub set that is not in the hub's cache is fetched.

    Raises MissingError, which says how to get it, if it is not there; InputError if `where` is not written as above, or
    is no regular file.
    """
    if where.startswith("hub:"):
        match = HUB.fullmatch(where)
        if not match:
            raise InputError(f"{where}: should read hub:ORG/NAME, hub:ORG/NAME@SPLIT or hub:ORG/NAME@SPLIT#LABEL")
        path = HubSet(match["id"], match["folder"], match["revision"]).snapshot(match["split"], fetch)
    else:
        check_ranges(where)
        match = None if _exists(where) else LOCAL.fullmatch(where)
        path = Path(match["path"] if match else where)
    split, columns = (match["split"], Columns(match["image"], match["label"])) if match else (None, Columns())
    kind, paths = _layout(where, path, split)
    for each in paths:
        if not (each.is_file() or each.is_dir()):
            raise InputError(f"{each}: no regular file, but a pipe, a socket or a device; name a file or a folder")
    return Located(where, kind, paths, split, columns)


def _layout(where: str, path: Path, split: str | None) -> tuple[Layout, list[Path]]:
    """The layout of `path`, and its folder or files. A folder with image files in it is taken as class folders."""
    for kind in ("parquet", "tar", "csv", "jsonl"):
        if path.suffix.lower() == f".{kind}" and not path.is_dir():
            return kind, [path] if path.exists() else _matching(where, str(path))
    if path.is_file():
        raise InputError(f"{where}: neither a folder nor a file that ends in .tar, .parquet, .csv or .jsonl")
    if not path.is_dir():
        raise MissingError(
            f"{where}: no such folder; put images there, as {path}/CLASS/IMAGE.jpg, or texts, as TEXT.txt"
        )
    if any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        return "saved", [path]
    if ilsvrc.is_flat(path):
        return "flat", [path]
    if not any(file.suffix.lower() in ENDINGS for file in visible_files(path)):
        for kind in ("parquet", "tar"):
            if any(file.suffix == f".{kind}" for file in visible_files(path)):
                files = archives.split_files(where, path, split)
                return kind, [file for file in files if file.suffix == f".{kind}"]
    return "folders", [path]


def _exists(where: str) -> bool:
    try:
        return Path(where).exists()
    except (OSError, ValueError) as error:  # too long, or with a null byte
        raise InputError(f"{where[:100]!r} is no path: {error.args[-1]}") from None


def _matching(where: str, pattern: str) -> list[Path]:
    """The files of a pattern, in order. Raises MissingError if an expanded part of it matches none."""
    files = {part: [part] if Path(part).exists() else sorted(glob(part)) for part in expand(pattern)}  # [ in a name
    absent = [part for part, found in files.items() if not found]
    if absent:
        raise MissingError(f"{where}: no such file as {absent[0]}; put {len(absent)} of {len(files)} there")
    return [Path(file) for found in files.values() for file in found]


def check_ranges(pattern: str) -> None:
    """Raise InputError for a range that runs backwards, and for ranges of more than MOST_FILES files together."""
    count = 1
    for match in BRACES.finditer(pattern):
        if max(map(len, match.groups())) > 18:
            raise InputError(f"{pattern[:100]}: {match[0][:50]} has too many digits")
        first, last = map(int, match.groups())
        if first > last:
            raise InputError(f"{pattern}: {match[0]} runs backwards; write {{{match[2]}..{match[1]}}}")
        count *= last - first + 1
    if count > MOST_FILES:
        raise InputError(f"{pattern}: its ranges mean {count:,} files; at most {MOST_FILES:,} can be named like this")


def expand(pattern: str) -> list[str]:
    """Expand ranges of numbers: 'a-{08..10}' gives a-08, a-09 and a-10."""
    match = BRACES.search(pattern)
    if not match:
        return [pattern]
    first, last = match.groups()
    numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return [part for number in numbers for part in expand(pattern[: match.start()] + number + pattern[match.end() :])]


def read_set(
    found: Located,
    classes: Classes,
    sample_shape: tuple[int, ...],
    needed: Collection[int],
    keep: bool,
    resize: int = 0,
) -> ImageSet:
    """Read a set as rows of sample_shape [C, S, S]: class folders by label and path, others in their own order.

    keep, resize: see ImageFiles. Raises InputError for an unknown class, and if a label in `needed` has no image.
    """
    if found.kind == "folders":
        return read_folder(found.paths[0], classes, sample_shape, needed, keep, resize)
    named = _named(found, classes)
    labels = archives.to_labels(named, classes)
    rows = [row for row, label in enumerate(labels) if label is not None]
    y = [label for label in labels if label is not None]
    classes.check(found.where, y, needed)
    files = ImageFiles([named.sources[row] for row in rows], sample_shape, keep, resize)
    return ImageSet(files, torch.tensor(y))


def _named(found: Located, classes: Classes) -> Named:
    match found.kind:
        case "flat":
            return Named(*ilsvrc.read_flat(found.paths[0]))
        case "tar":
            return archives.read_shards(found.paths, found.columns.label)
        case "parquet":
            data = archives.open_parquet(found.where, found.paths)
        case "csv" | "jsonl":
            raise InputError(f"{found.where}: there are no images in it; texts are for data.source = 'text'")
        case _:
            data = archives.open_saved(found.where, found.paths[0], found.split)
    return archives.read_rows(found.where, data, found.columns, classes)


def count(found: Located, classes: Classes, needed: Collection[int]) -> int:
    """The number of a set's images that are of the task's classes. Raises InputError as `read_set` does."""
    if found.kind != "parquet":
        return len(read_set(found, classes, (3, 1, 1), needed, keep=False).y)
    names = archives.parquet_names(found.where, found.paths, found.columns, classes)
    labels = archives.to_labels(Named([found.paths[0]] * len(names), names), classes)
    y = [label for label in labels if label is not None]
    classes.check(found.where, y, needed)
    return len(y)
