import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from dp_base.errors import InputError, MissingError, warn_once
from dp_base.reading import foreign_file
from dp_real.data.sets.imagenet import ImageNetTask, imagenet_classes

MAX_FOLDER_BYTES = 200  # bytes of a folder's name; file systems allow 255, and a number may be appended
ENDINGS = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}  # of image files
TABLES = {".csv", ".jsonl", ".parquet", ".tar"}  # of files whose rows are examples
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
"""Usual names of folders that hold one set each, and ours. Where there are two, they are no classes."""


@dataclass(frozen=True)
class Classes:
    """A task's classes, and the label of each known folder name; None: the task leaves the class out."""

    names: tuple[str, ...]
    folders: Mapping[str, int | None]

    def label(self, name: str, place: object) -> int | None:
        """A name's label; None for a class that the task leaves out. InputError, at `place`, if unknown."""
        name = composed(name)
        key = name if name in self.folders else folder_name(name)
        if key not in self.folders:
            similar = get_close_matches(name, self.folders, n=1)
            hint = f"did you mean {similar[0]}?" if similar else "leave it out, or name its class in data.classes"
            raise InputError(f"{place}: {name} is none of the {len(self.names)} classes; {hint}")
        return self.folders[key]

    def rows(
        self, named: Sequence[tuple[Any, str]], where: object, needed: Collection[int], what: str
    ) -> list[tuple[Any, int]]:
        """The rows of the task's classes, with labels. InputError, at `where`, if labels in `needed` are missing."""
        self.refuse_counted({name for _, name in named}, where)
        labels = {}
        for row, name in named:
            if name not in labels:
                labels[name] = self.label(name, row)
        labelled = [(row, label) for row, name in named if (label := labels[name]) is not None]
        self.check(labelled, where, needed, what)
        return labelled

    def refuse_counted(self, names: set[str], where: object) -> None:
        """Warn what numbers mean. InputError for others, and 0 to 99 of ImageNet-100, whose lists differ in order."""
        count = len(self.names)
        if not names or not all(map(str.isdecimal, names)) or any(map(str.isdecimal, self.names)):
            return
        if beyond := sorted(names - self.folders.keys()):
            raise InputError(f"{where}: {beyond[0]} is none of the {count} classes, which numbers count from 0")
        if None not in self.folders.values():
            ends = f"0 is {self.names[0]}, {count - 1} is {self.names[-1]}"
            warn_once(f"{where}: its classes are numbers, which count in the order of data.classes: {ends}")
        elif all(int(name) < count for name in names):  # the task is a part of ImageNet
            raise InputError(
                f"{where}: its classes are numbers below {count}, and lists of ImageNet-{count} differ in their order: "
                "give WordNet ids, or name the classes in data.classes in the order of these numbers"
            )

    def check(self, labelled: Sequence[tuple[Any, int]], where: object, needed: Collection[int], what: str) -> None:
        """Raise InputError, which names `where`, if a set is empty or lacks a label in `needed`."""
        missing = [self.names[label] for label in sorted(set(needed) - {label for _, label in labelled})]
        if missing:
            rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise InputError(f"{where}: no {what} of {', '.join(missing[:3])}{rest}; each class needs some")
        if not labelled:
            raise InputError(f"{where}: none of its classes is one of this task's {len(self.names)}")


def composed(name: str) -> str:
    """A name without blanks at its ends, each letter and its accents as one character (NFC); macOS uses several."""
    return unicodedata.normalize("NFC", name).strip()


def user_classes(names: Sequence[str]) -> Classes:
    """A user's classes by name, by `folder_names` and, unless some name is a number, by number from 0."""
    names = [composed(name) for name in names]
    numbers = [] if any(name.isdecimal() for name in names) else [str(label) for label in range(len(names))]
    spellings = (folder_names(names), names, numbers)
    return Classes(tuple(names), {name: label for spelt in spellings for label, name in enumerate(spelt)})


@cache
def task_classes(task: ImageNetTask) -> Classes:
    """ImageNet's classes by WordNet id, number in ImageNet, or name."""
    of_imagenet = imagenet_classes(task)
    labels = {entry.wnid: label for label, entry in enumerate(of_imagenet)}
    folders = {
        folder_name(name): labels.get(entry.wnid)
        for entry in imagenet_classes("imagenet1k")
        for name in (entry.wnid, str(entry.index), entry.name, entry.synonyms)
    }
    del folders["crane"]  # the only name that two classes share
    return Classes(tuple(entry.name for entry in of_imagenet), folders)


def folder_name(name: str) -> str:
    """A class's name as a folder's: shortened, with underscores for characters that some file system forbids."""
    cut = name.encode()[:MAX_FOLDER_BYTES].decode(errors="ignore")
    return re.sub(r'[\\/:*?"<>|\x00-\x1f\x7f]|^[.]|[. ]$', "_", cut)


def folder_names(names: Sequence[str]) -> list[str]:
    """`folder_name`s, with the class's number where some file system would confuse two."""
    safe = [folder_name(name) for name in names]
    alike = {unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()) for name in safe}
    if len(alike) == len(safe):
        return safe
    return [f"{name}-{label}" for label, name in enumerate(safe)]


def class_folders(folder: Path) -> list[Path]:
    """Visible folders, sorted as numbers if all are, else by name."""
    if not folder.is_dir():
        raise MissingError(f"{folder}: no such folder; put images there, as {folder}/CLASS/IMAGE.jpg")
    with foreign_file(folder):
        here = [path for path in folder.iterdir() if not path.name.startswith(".")]
        folders = [path for path in here if path.is_dir()]
    refuse_lost(here)
    if not folders:
        tables = sorted(str(path) for path in here if path.suffix.lower() in TABLES)
        remedy = f"name a file, such as {tables[0]}" if tables else f"images must be in {folder}/CLASS/IMAGE.jpg"
        raise InputError(f"{folder}: there are no folders in it; {remedy}")
    for path in folders:
        with foreign_file(f"{folder}: {path.name!r}", "its name is not UTF-8", "rename it"):
            path.name.encode()
    return [folder / name for name in in_order([path.name for path in folders])]


def in_order(names: Collection[str]) -> list[str]:
    """Sorted as numbers if all are, else by name."""
    numbers = all(map(str.isdecimal, names))
    return sorted(names, key=lambda name: (int(name) if numbers else 0, name))


def refuse_lost(links: Sequence[Path]) -> None:
    """Raise MissingError if a link's target is missing."""
    lost = sorted(link for link in links if not link.exists())
    if lost:
        rest = f"; so are those of {len(lost) - 1:,} more links" if len(lost) > 1 else ""
        raise MissingError(f"{lost[0]}: a link to {lost[0].readlink()}, which is gone{rest}; put it back there")


def visible_files(folder: Path) -> Iterator[Path]:
    """Files in and below a folder, but for hidden ones such as macOS's ._1.jpg. Links are followed once."""
    above = Path(os.path.realpath(folder)).parents
    entered = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(os.path.realpath(root))
        if here in above:
            raise InputError(f"{root}: a link to {here}, which {folder} lies in; remove the link")
        if here in entered:
            folders.clear()
            continue
        entered.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in files if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be listed: {error.strerror}; let it be read, or remove it") from error


def read_regular(source: Any) -> bytes:
    """A file's bytes; on disk it must be regular."""
    if isinstance(source, Path) and not source.is_file():
        source.stat()  # raises if it does not exist
        raise ValueError("it is no regular file")
    return source.read_bytes()


def class_files(
    folder: Path, classes: Classes, endings: Collection[str], what: str, needed: Collection[int] = ()
) -> list[tuple[Path, int]]:
    """Files with these endings and their labels, by class folder.

    A folder of no class is skipped with a warning, or refused if it may be a missing class. MissingError for broken
    links.
    """
    labelled = []
    strays = []
    every = []
    folders = class_folders(folder)
    classes.refuse_counted({path.name for path in folders}, folder)
    for path in folders:
        try:
            label = classes.label(path.name, path)
        except InputError as stray:
            strays.append(stray)
            continue
        if label is not None:
            files = sorted(visible_files(path))
            mine = [(file, label) for file in files if file.suffix.lower() in endings]
            if not mine:
                raise InputError(f"{path}: there are no {what} in it ({', '.join(sorted(endings))})")
            labelled += mine
            every += files
    refuse_lost(every)
    if loose := [path for path in folder.glob("[!.]*") if path.suffix.lower() in endings]:
        warn_once(f"{folder}: {len(loose)} {what} outside the class folders are not read")
    warn_unread(folder, [file for file in every if file.suffix.lower() not in endings], what)
    if strays and (not labelled or set(needed) - {label for _, label in labelled}):
        raise strays[0]
    classes.check(labelled, folder, needed, what)
    for stray in strays:
        warn_once(f"{stray}; it is skipped")
    return labelled


def warn_unread(folder: Path, files: Sequence[Path], what: str) -> None:
    """Warn of files without the endings of `what`, such as images."""
    if files:
        kinds = ", ".join(sorted({file.suffix or file.name for file in files})[:5])
        warn_once(f"{folder}: {len(files)} files are not read, for their endings are none of {what}: {kinds}")
