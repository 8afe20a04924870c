"""Finds sets of real examples by their places in a configuration:

    DIR                       class folders, DIR/CLASS/IMAGE.jpg; or a data set that `datasets` saved; or Parquet or tar
                              files; or ImageNet's validation images without folders (dp_real.data.sets.tars)
    shards/val-{00..63}.tar   WebDataset shards: a file, a pattern (* and {00..63}); likewise .parquet
    table.csv, table.jsonl    one example a row, for sources that read such tables
    hub:ORG/NAME              a data set of the hub: /FOLDER of it, :REVISION, fetched unless it is in the hub's cache

@SPLIT after it selects one of several splits. #LABEL or #IMAGE,LABEL names the columns, as in
hub:axiong/imagenet-r@test#wnid.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape, glob
from itertools import chain, product
from pathlib import Path
from typing import Any

from dp_base.errors import InputError, MissingError
from dp_base.reading import cause_of, foreign_file
from dp_real.data.sets.class_names import ENDINGS, TABLES, visible_files

PLACE = re.compile(r"(?s)(.+?)(?:@([\w.-]+))?(?:#(?:([^@#,/]+),)?([^@#,/]+))?")
HUB = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+)(?:/(?P<folder>[^:@#]+))?(?::(?P<revision>[^@#]+))?")
RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}")
MAX_FILES = 100_000  # that the ranges of a pattern may stand for


@dataclass(frozen=True)
class Located:
    """A set that was found: `where` it is in the configuration, and its `paths`, one folder or files of one kind."""

    where: str
    kind: str  # folders, flat, saved, parquet, tar, csv or jsonl
    paths: list[Path]
    split: str | None
    example: str | None  # the columns of examples and labels; None: found by type or a usual name
    label: str | None
    fetch: bool  # False: nothing may be fetched or copied


def locate(where: str, fetch: bool = True) -> Located:
    """Find a set without reading it; with `fetch`, fetch one of the hub that is not cached."""
    with foreign_file(where[:100]):
        match = None if Path(where).exists() else PLACE.fullmatch(where)
        path, split, example, label = match.groups() if match else (where, None, None, None)
        folder = _hub_folder(path, split, fetch) if path.startswith("hub:") else Path(path)
        kind, paths = _layout(where, folder, split)
        has_splits = (folder.is_dir() and kind in ("parquet", "tar")) or (folder / "dataset_dict.json").exists()
        if split and not has_splits:
            raise InputError(f"{where}: it has no splits to choose @{split} from; name the split's own file or folder")
        for each in paths:
            if not (each.is_file() or each.is_dir()):
                raise InputError(f"{each}: no regular file, but a pipe, a socket or a device; name a file or a folder")
        return Located(where, kind, paths, split, example, label, fetch)


def _layout(where: str, path: Path, split: str | None) -> tuple[str, list[Path]]:
    ending = path.suffix.lower()
    if ending in TABLES and not path.is_dir():
        return ending[1:], [path] if path.exists() else _matching(where, str(path))
    if path.is_file():
        raise InputError(f"{where}: neither a folder nor a file that ends in .tar, .parquet, .csv or .jsonl")
    if not path.is_dir():
        raise MissingError(
            f"{where}: no such folder; put images there, as {path}/CLASS/IMAGE.jpg, or texts, as TEXT.txt"
        )
    if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return "saved", [path]
    if flat := sorted(path.glob("ILSVRC2012_val_????????.*")):
        return "flat", flat
    if not any(file.suffix.lower() in ENDINGS for file in visible_files(path)):
        for kind in ("parquet", "tar"):
            if any(file.suffix == f".{kind}" for file in visible_files(path)):
                return kind, _split_files(where, path, split, f".{kind}")
    return "folders", [path]


def _split_files(where: str, folder: Path, split: str | None, ending: str) -> list[Path]:
    """A split's files, by the naming rules of `datasets`. InputError if these leave some out unasked."""
    from datasets.data_files import DataFilesDict, get_data_patterns

    base = escape(str(folder))
    files = DataFilesDict.from_patterns(get_data_patterns(base), base_path=base)
    used = {os.path.realpath(file) for each in files.values() for file in each}
    left = [file for file in visible_files(folder) if file.suffix == ending and os.path.realpath(file) not in used]
    if left and split is None:
        raise InputError(f"{where}: {left[0].name} has no split in its name, others have: name the files, or rename it")
    return [Path(file) for file in pick_split(where, files, split) if Path(file).suffix == ending]


def pick_split(where: str, splits: Mapping[Any, Any], split: str | None) -> Any:
    """The split of that name; None: the only one."""
    if split is None and len(splits) == 1:
        (only,) = splits.values()
        return only
    if split not in splits:
        question = f"no split {split}" if split else "which split?"
        raise InputError(f"{where}: {question}; add one of {', '.join('@' + str(name) for name in splits)}")
    return splits[split]


def _matching(where: str, pattern: str) -> list[Path]:
    # A file may have a [ in its name, which is no pattern then.
    files = {part: [part] if Path(part).exists() else sorted(glob(part)) for part in expand(pattern)}
    absent = [part for part, matches in files.items() if not matches]
    if absent:
        several = f", which is one of {len(absent)} that are missing" if len(absent) > 1 else ""
        raise MissingError(f"{where}: no such file as {absent[0]}{several}; put it there, or name another place")
    return [Path(file) for file in dict.fromkeys(chain(*files.values()))]  # {1..10}* finds 10 twice


def expand(pattern: str) -> list[str]:
    """Ranges of numbers: 'a-{08..10}' gives a-08, a-09 and a-10."""
    numbers = [range(int(first), int(last) + 1) for first, last in RANGE.findall(pattern)]
    count = math.prod(map(len, numbers))
    if not 0 < count <= MAX_FILES:
        raise InputError(f"{pattern}: its ranges mean {count:,} files: should be 1 to {MAX_FILES:,}, counted upwards")
    template = RANGE.sub(lambda ends: f"%0{len(ends[1])}d", pattern.replace("%", "%%"))
    return [template % combination for combination in product(*numbers)]


def _hub_folder(where: str, split: str | None, fetch: bool) -> Path:
    """The local folder of a hub set's Parquet or tar files with the split in their paths. Default revision: the latest.

    Raises MissingError, with the command to run, if they cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError

    match = HUB.fullmatch(where)
    if not match or ".." in where.split("/"):
        raise InputError(f"{where}: should read hub:ORG/NAME, hub:ORG/NAME@SPLIT or hub:ORG/NAME@SPLIT#LABEL")
    name, folder, revision = match.groups()
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
    except (OSError, HTTPError) as error:
        access = f"(after hf auth login if {page} is private or has terms to accept)"
        cause = f": {cause_of(error)}" if fetch else ""
        raise MissingError(f"{name} is not in the hub's cache: with a network, {command} {access}{cause}") from error
    path = Path(root, folder or "")
    if not any(any(path.rglob(f"*.{kind}")) for kind in ("parquet", "tar")):
        raise InputError(f"{page} has no Parquet or tar files that are called {pattern}")
    return path
