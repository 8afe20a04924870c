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
from dp_real.data.sets.imagenet import ImageNetTask, imagenet_classes

LONGEST = 200  # bytes of a folder's name; file systems allow 255, and a number may be added


SET_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Usual names of folders that hold a set each, and ours. Two of them are no classes."""


@dataclass(frozen=True)
class Classes:
    """A task's classes, and a label for each known folder name; None if the task leaves it out."""

    names: tuple[str, ...]
    folders: Mapping[str, int | None]

    def label(self, name: str, place: object) -> int | None:
        """None for a class that the task leaves out; InputError, at `place`, if unknown."""
        name = composed(name)
        key = name if name in self.folders else folder_name(name)
        if key not in self.folders:
            near = get_close_matches(name, self.folders, n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out, or name its class in data.classes"
            raise InputError(f"{place}: {name} is none of the {len(self.names)} classes; {hint}")
        return self.folders[key]

    def rows(
        self, names: Sequence[str], places: Sequence[object], where: object, needed: Collection[int], what: str
    ) -> tuple[list[int], list[int]]:
        """The rows of the task's classes, and their labels; InputError, at `where`, if labels in `needed` are missing.

        Numbers are class folders', or the task's own if all are below its number of classes.
        """
        first: dict[str, int] = {}
        for row, name in enumerate(names):
            first.setdefault(name, row)
        is_part_of_imagenet = None in self.folders.values()
        if is_part_of_imagenet and all(name.isdecimal() and int(name) < len(self.names) for name in first):
            labels: Mapping[str, int | None] = {name: int(name) for name in first}
        else:
            labels = {name: self.label(name, places[row]) for name, row in first.items()}
        kept = [(row, label) for row, name in enumerate(names) if (label := labels[name]) is not None]
        self.check(where, [label for _, label in kept], needed, what)
        return [row for row, _ in kept], [label for _, label in kept]

    def check(self, place: object, labels: Collection[int], needed: Collection[int], what: str = "images") -> None:
        """Raise InputError, which names `place`, if a set is empty or lacks a label in `needed`."""
        missing = [self.names[label] for label in sorted(set(needed) - set(labels))]
        if missing:
            rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise InputError(f"{place}: no {what} of {', '.join(missing[:3])}{rest}; each class needs some")
        if not labels:
            raise InputError(f"{place}: none of its classes is one of this task's {len(self.names)}")


def composed(name: str) -> str:
    """A name with each letter and its accents as one character (NFC); macOS uses several."""
    return unicodedata.normalize("NFC", name)


def own_classes(names: Sequence[str]) -> Classes:
    """A user's classes by name, by `folder_names`, and unless some name is a number, by number from 0."""
    names = [composed(name) for name in names]
    folders: dict[str, int | None] = {name: label for label, name in enumerate(folder_names(names))}
    folders |= {name: label for label, name in enumerate(names)}
    if not any(name.isdecimal() for name in folders):
        folders |= {str(label): label for label in range(len(names))}
    return Classes(tuple(names), folders)


@cache
def task_classes(task: ImageNetTask) -> Classes:
    """ImageNet's classes by WordNet id, number in ImageNet, or name."""
    chosen = imagenet_classes(task)
    labels = {entry.wnid: label for label, entry in enumerate(chosen)}
    folders = {
        spelt: labels.get(entry.wnid)
        for entry in imagenet_classes("imagenet1k")
        for name in (entry.wnid, str(entry.index), entry.name, *entry.lemmas)
        for spelt in (name, folder_name(name))
    }
    return Classes(tuple(entry.name for entry in chosen), folders)


def folder_name(name: str) -> str:
    """A class's name as a folder's: shortened, with underscores for what some file system does not take."""
    cut = name.encode()[:LONGEST].decode(errors="ignore")
    return re.sub(r'[\\/:*?"<>|\x00-\x1f\x7f]|^[.]|[. ]$', "_", cut)


def folder_names(names: Sequence[str]) -> list[str]:
    """`folder_name`s, with the class's number if some file system takes two for one."""
    safe = [folder_name(name) for name in names]
    if len(set(map(_without_case, safe))) == len(safe):
        return safe
    return [f"{name}-{label}" for label, name in enumerate(safe)]


def _without_case(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def class_folders(folder: Path) -> list[Path]:
    """Visible folders, as numbers if all are, else by name."""
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
    """Files in and below a folder, without hidden ones such as a system's ._1.jpg. Links are followed once."""
    top = Path(os.path.realpath(folder))
    entered: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        here = os.path.realpath(root)
        if Path(here) in top.parents:
            raise InputError(f"{root}: a link to {here}, which {folder} lies in; remove the link")
        if here in entered:
            folders.clear()
            continue
        entered.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in files if not name.startswith("."))


def class_files(
    folder: Path, classes: Classes, endings: Collection[str], what: str, needed: Collection[int] = ()
) -> dict[Path, tuple[int, list[Path]]]:
    """Each class folder's label and files with these endings.

    A folder of no class is told and skipped, or refused if it could be a lacking class. MissingError for broken links.
    """
    found: dict[Path, tuple[int, list[Path]]] = {}
    strays: list[InputError] = []
    others: list[Path] = []
    lost: list[Path] = []
    for path in class_folders(folder):
        try:
            label = classes.label(path.name, path)
        except InputError as stray:
            strays.append(stray)
            continue
        if label is not None:
            mine: list[Path] = []
            for file in sorted(visible_files(path)):
                if file.is_symlink() and not file.exists():
                    lost.append(file)
                (mine if file.suffix.lower() in endings else others).append(file)
            found[path] = label, mine
            if not mine:
                raise InputError(f"{path}: there are no {what} in it ({', '.join(sorted(endings))})")
    if lost:
        rest = f"; so are those of {len(lost) - 1:,} more links" if len(lost) > 1 else ""
        raise MissingError(f"{lost[0]}: a link to {lost[0].readlink()}, which is gone{rest}; put it back there")
    warn_unread(folder, others, what)
    if strays and (not found or set(needed) - {label for label, _ in found.values()}):
        raise strays[0]
    for stray in strays:
        warn_once(f"{stray}; it is skipped")
    return found


def _refuse(error: OSError) -> None:
    """os.walk would pass over a folder that cannot be listed."""
    raise InputError(f"{error.filename}: cannot be listed: {error.strerror}; let it be read, or remove it") from error


def warn_unread(folder: Path, files: Sequence[Path], what: str) -> None:
    """Warn of files without the endings of `what`, such as images."""
    if files:
        kinds = ", ".join(sorted({file.suffix or file.name for file in files})[:5])
        warn_once(f"{folder}: {len(files)} files are not read, for their endings are none of {what}: {kinds}")


@cache
def warn_once(message: str) -> None:
    """Sets are looked at several times before they are read."""
    logging.getLogger(__name__).warning(message)
