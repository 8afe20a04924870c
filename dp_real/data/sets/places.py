"""How a configuration names sets of real examples, and how they are found and read.

    DIR                       class folders, DIR/CLASS/IMAGE.jpg; or what `datasets` saved; or Parquet or tar files
                              or ImageNet's validation images without folders (dp_real.data.sets.tars)
    shards/val-{00..63}.tar   WebDataset shards: a file, a pattern (* and {00..63}); likewise .parquet; or ImageNet's
                              own tar files, ILSVRC2012_img_val.tar, ILSVRC2012_img_train.tar, n01440764.tar
    table.csv, table.jsonl    a row each, for sources that read such tables
    hub:ORG/NAME              a data set of the hub: /FOLDER of it, :REVISION, fetched unless it is in the hub's cache

@SPLIT after it picks one of several splits. #LABEL or #IMAGE,LABEL names the columns, as in
hub:axiong/imagenet-r@test#wnid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from glob import glob
from itertools import product
from pathlib import Path
from typing import Literal

import torch

from dp_base.errors import InputError, MissingError
from dp_base.reading import foreign_file
from dp_real.data.sets import table_sets, tars
from dp_real.data.sets.class_names import Classes, class_files, visible_files
from dp_real.data.sets.images import ENDINGS, ImageFiles, ImageSet
from dp_real.data.sets.table_sets import Columns

SPLIT_AND_COLUMNS = r"(?:@(?P<split>[\w.-]+))?(?:#(?:(?P<image>[\w.-]+),)?(?P<label>[\w.-]+))?"
HUB = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+)(?:/(?P<folder>[^:@#]+))?(?::(?P<revision>[^@#]+))?" + SPLIT_AND_COLUMNS)
LOCAL = re.compile(r"(?P<path>.+?)" + SPLIT_AND_COLUMNS)
RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}")
MOST_FILES = 100_000  # that the ranges of a pattern may mean together
Layout = Literal["folders", "flat", "saved", "parquet", "tar", "csv", "jsonl"]


@dataclass(frozen=True)
class Located:
    """A set that was found: `where` in the configuration, `paths` one folder or files of one kind."""

    where: str
    kind: Layout
    paths: list[Path]
    split: str | None
    columns: Columns


def locate(where: str, fetch: bool = True) -> Located:
    """Find a set without reading it; with `fetch`, one of the hub is fetched if its cache lacks it."""
    with foreign_file(where[:100]):
        if where.startswith("hub:"):
            match = HUB.fullmatch(where)
            if not match or ".." in (match["folder"] or "").split("/"):
                raise InputError(f"{where}: should read hub:ORG/NAME, hub:ORG/NAME@SPLIT or hub:ORG/NAME@SPLIT#LABEL")
            path = hub_folder(match["id"], match["folder"], match["revision"], match["split"], fetch)
        else:
            match = None if _exists(where) else LOCAL.fullmatch(where)
            path = Path(match["path"] if match else where)
        split = match["split"] if match else None
        columns = Columns(match["image"], match["label"]) if match else Columns()
        kind, paths = _layout(where, path, split)
        for each in paths:
            if not (each.is_file() or each.is_dir()):
                raise InputError(f"{each}: no regular file, but a pipe, a socket or a device; name a file or a folder")
        return Located(where, kind, paths, split, columns)


def _layout(where: str, path: Path, split: str | None) -> tuple[Layout, list[Path]]:
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
    if tars.is_flat(path):
        return "flat", [path]
    if not any(file.suffix.lower() in ENDINGS for file in visible_files(path)):
        for kind in ("parquet", "tar"):
            if any(file.suffix == f".{kind}" for file in visible_files(path)):
                files = table_sets.split_files(where, path, split)
                return kind, [file for file in files if file.suffix == f".{kind}"]
    return "folders", [path]


def _exists(where: str) -> bool:
    try:
        return Path(where).exists()
    except (OSError, ValueError) as error:  # it is too long, or has a null byte
        raise InputError(f"{where[:100]!r} is no path: {error.args[-1]}") from None


def _matching(where: str, pattern: str) -> list[Path]:
    files: dict[str, list[str]] = {}
    for part in expand(pattern):
        # A file may have a [ in its name, which is no pattern then.
        files[part] = [part] if Path(part).exists() else sorted(glob(part))
    absent = [part for part, found in files.items() if not found]
    if absent:
        several = f", which is one of {len(absent)} that are missing" if len(absent) > 1 else ""
        raise MissingError(f"{where}: no such file as {absent[0]}{several}; put it there, or name another place")
    return [Path(file) for found in files.values() for file in found]


def hub_folder(name: str, folder: str | None, revision: str | None, split: str | None, fetch: bool) -> Path:
    """The local folder of a hub set's Parquet or tar files, those with the split in their paths; revision None: latest.

    Raises MissingError, with the command to run, if they cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    page = f"https://huggingface.co/datasets/{name}"
    pattern = (f"{folder}/" if folder else "") + (f"*{split}*" if split else "*")
    command = f"hf download {name} --repo-type dataset --include '{pattern}'"
    if revision:
        command += f" --revision {revision}"
    try:
        root = snapshot_download(
            name,
            repo_type="dataset",
            revision=revision,
            allow_patterns=[pattern + ".parquet", pattern + ".tar"],
            local_files_only=not fetch,
        )
    except GatedRepoError as error:
        raise MissingError(f"{page} is gated: accept its terms there, hf auth login, then {command}") from error
    except RepositoryNotFoundError as error:
        raise MissingError(f"{page} is not there, or private: mind the name, or hf auth login") from error
    except (OSError, HfHubHTTPError) as error:
        raise MissingError(f"{name} is not in the hub's cache: where there is a network, {command}") from error
    found = Path(root, folder or "")
    if not any(any(found.rglob(f"*.{kind}")) for kind in ("parquet", "tar")):
        raise InputError(f"{page} has no Parquet or tar files that are called {pattern}")
    return found


def expand(pattern: str) -> list[str]:
    """Ranges of numbers: 'a-{08..10}' gives a-08, a-09 and a-10."""
    ends = RANGE.findall(pattern)
    for first, last in ends:
        if int(last) < int(first):
            raise InputError(f"{pattern}: {{{first}..{last}}} runs backwards; write {{{last}..{first}}}")
    count = math.prod(int(last) - int(first) + 1 for first, last in ends)
    if count > MOST_FILES:
        raise InputError(f"{pattern}: its ranges mean {count:,} files; at most {MOST_FILES:,} can be named like this")
    numbers = [[f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)] for first, last in ends]
    template = RANGE.sub("%s", pattern.replace("%", "%%"))
    return [template % chosen for chosen in product(*numbers)]


def read_set(
    found: Located,
    classes: Classes,
    sample_shape: tuple[int, ...],
    needed: Collection[int],
    keep: bool,
    resize: int = 0,
) -> ImageSet:
    """Images as rows of sample_shape [C, S, S], class folders by label and path, others in their order."""
    if found.kind == "folders":
        (folder,) = found.paths
        found_files = class_files(folder, classes, ENDINGS, "images", needed).values()
        in_order = sorted(found_files, key=lambda of_class: of_class[0])
        y = [label for label, files in in_order for _ in files]
        classes.check(folder, y, needed)
        paths = [path for _, files in in_order for path in files]
        return ImageSet(ImageFiles(paths, sample_shape, keep, resize), torch.tensor(y))
    match found.kind:
        case "flat":
            sources, names = tars.read_flat(found.paths[0])
        case "tar":
            sources, names = tars.read_shards(found.paths, found.columns.label)
        case "csv" | "jsonl":
            raise InputError(f"{found.where}: there are no images in it; texts are for data.source = 'text'")
        case _:
            sources, names = table_sets.read_rows(found.where, table_sets.open_table(found), found.columns, classes)
    rows, y = classes.rows(names, sources, found.where, needed, "images")
    return ImageSet(ImageFiles([sources[row] for row in rows], sample_shape, keep, resize), torch.tensor(y))
