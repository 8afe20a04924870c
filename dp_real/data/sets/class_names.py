"""Finds the label of a folder, a file or a row by its name."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from dp_base.errors import InputError, MissingError
from dp_real.data.imagenet.classes import ImageNetTask, imagenet_classes

LONGEST = 200  # bytes of a folder's name; file systems take 255, of which a file's number and ending need some


@dataclass(frozen=True)
class Classes:
    """A task's classes: label i is names[i]. folders: the label of each folder name; None: the class is left out."""

    names: tuple[str, ...]
    folders: Mapping[str, int | None]

    def label(self, name: str, place: object) -> int | None:
        """The label of a name; None if its class is left out. Raises InputError, naming `place`, for an unknown one."""
        name = composed(name)
        key = name if name in self.folders else folder_name(name)
        if key not in self.folders:
            near = get_close_matches(name, self.folders, n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out, or name its class in data.classes"
            raise InputError(f"{place}: {name} is none of the {len(self.names)} classes; {hint}")
        return self.folders[key]

    def check(self, place: object, labels: Collection[int], needed: Collection[int], what: str = "images") -> None:
        """Raise InputError if the set at `place`, which has `labels`, is empty, or lacks a label in `needed`."""
        missing = [self.names[label] for label in sorted(set(needed) - set(labels))]
        if missing:
            rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise InputError(f"{place}: no {what} of {', '.join(missing[:3])}{rest}; each class needs some")
        if not labels:
            raise InputError(f"{place}: none of its classes is one of this task's {len(self.names)}")


def composed(name: str) -> str:
    """A name with each letter and its accents as one character (NFC). macOS names files with several."""
    return unicodedata.normalize("NFC", name)


def own_classes(names: Sequence[str]) -> Classes:
    """A user's classes. A folder has the name of its class, or its number from 0 unless some name is a number.

    A name that makes a bad folder's name is also found by that of `folder_names`.
    """
    names = [composed(name) for name in names]
    folders: dict[str, int | None] = {name: label for label, name in enumerate(folder_names(names))}
    folders |= {name: label for label, name in enumerate(names)}
    if not any(name.isdecimal() for name in folders):
        folders |= {str(label): label for label in range(len(names))}
    return Classes(tuple(names), folders)


def task_classes(task: ImageNetTask) -> Classes:
    """The classes of an ImageNet task. A folder has the WordNet id, the number in ImageNet, or a name of its class."""
    chosen = imagenet_classes(task)
    labels = {entry.wnid: label for label, entry in enumerate(chosen)}
    folders = {
        folder_name(name): labels.get(entry.wnid)
        for entry in imagenet_classes("imagenet1k")
        for name in (entry.wnid, str(entry.index), entry.name, *entry.lemmas)
    }
    return Classes(tuple(entry.name for entry in chosen), folders)


def folder_name(name: str) -> str:
    """A class's name as a folder name: characters that file systems forbid, and a first dot, become underscores.

    A name that is too long for them is cut.
    """
    safe = re.sub(r'[\\/:*?"<>|\x00-\x1f\x7f]|^[.]', "_", name)
    return safe.encode()[:LONGEST].decode(errors="ignore")


def folder_names(names: Sequence[str]) -> list[str]:
    """A `folder_name` for each class, all different: where two would be alike, the class's number follows."""
    safe = [folder_name(name) for name in names]
    return [f"{name}-{label}" if safe.count(name) > 1 else name for label, name in enumerate(safe)]


def class_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden, sorted as numbers if all are numbers, else by name.

    Raises MissingError if `folder` does not exist, InputError if it holds no folders, or one whose name is not UTF-8.
    """
    if not folder.is_dir():
        raise MissingError(f"{folder}: no such folder; put images there, as {folder}/CLASS/IMAGE.jpg")
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not found:
        raise InputError(f"{folder}: there are no folders in it; images must be in {folder}/CLASS/IMAGE.jpg")
    for path in found:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise InputError(f"{folder}: the name of its folder {path.name!r} is not UTF-8; rename it") from None
    numbers = all(path.name.isdecimal() for path in found)
    return sorted(found, key=lambda path: (int(path.name) if numbers else 0, path.name))


def visible_files(folder: Path) -> Iterator[Path]:
    """The files in a folder and in those below, without hidden ones, which a system or an editor left (._1.jpg).

    Links to folders are followed, and a folder is entered once, so that a link to one above it ends.
    """
    entered: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        here = os.path.realpath(root)
        if here in entered:
            folders.clear()
            continue
        entered.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in files if not name.startswith("."))


def warn_unread(folder: Path, files: Sequence[Path], what: str) -> None:
    """Say that these files of a set were not read, since they do not end as `what` do."""
    if files:
        kinds = ", ".join(sorted({file.suffix or file.name for file in files})[:5])
        warn_once(f"{folder}: {len(files)} files are not read, for their endings are none of {what}: {kinds}")


@cache
def warn_once(message: str) -> None:
    """Log a warning, once in this process: sets are looked at several times before they are read."""
    logging.getLogger(__name__).warning(message)
