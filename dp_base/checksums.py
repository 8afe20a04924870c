"""Checksums of the files in a folder, written when the folder is finished and compared when it is read.

The file RECORD in the folder has the SHA-256 of each file. A folder without it was not finished, and is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dp_base.errors import DamagedError, InputError, MissingError
from dp_base.files import PART, write_json

RECORD = "checksums.json"
READERS = 8  # threads that read files; hashing leaves Python's lock


def digest(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any, sort_keys: bool = False) -> str:
    """The SHA-256 of a value's JSON, as hexadecimal digits. sort_keys: mappings count as equal in any order."""
    return hashlib.sha256(json.dumps(value, sort_keys=sort_keys).encode()).hexdigest()


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The digest of each named file of a folder, read by several threads. Raises OSError likewise."""
    names = list(names)
    with ThreadPoolExecutor(READERS) as readers:
        return dict(zip(names, readers.map(lambda name: digest(folder / name), names), strict=True))


def seal(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write the checksums of these files of a folder, by default of all that are in it."""
    if names is None:
        names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    write_json(folder / RECORD, digests(folder, [name for name in names if name != RECORD and PART not in name]))


def damage(folder: Path, names: Iterable[str] | None = None) -> str | None:
    """The first file that is not as it was sealed, and what is wrong with it; None if all are, or nothing was sealed.

    names: look at these only.
    """
    if not (folder / RECORD).exists():
        return None
    try:
        record = read_json(folder / RECORD)
        wanted = record if names is None else {name: record[name] for name in names if name in record}
        return changed(folder, dict(wanted))
    except (DamagedError, TypeError, ValueError):
        return f"{folder / RECORD} is cut short or changed (without it, the files are taken as they are)"


def changed(folder: Path, wanted: dict[str, str]) -> str | None:
    """The first of these files whose digest is another, or which is not there; None if there is none."""
    missing = next((name for name in wanted if not (folder / name).is_file()), None)
    if missing:
        return f"{folder / missing} is missing"
    try:
        found = digests(folder, wanted)
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    wrong = next((name for name in wanted if found[name] != wanted[name]), None)
    return None if wrong is None else f"{folder / wrong} is damaged: its checksum is not that of what was written"


def verify(folder: Path, remedy: str, names: Iterable[str] | None = None) -> None:
    """Raise DamagedError, with the remedy, if a file of the folder is not as it was sealed."""
    problem = damage(folder, names)
    if problem:
        raise DamagedError(f"{problem}; {remedy}")


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """For a block that reads one file: raise DamagedError, which names the file and the remedy, for what it raises."""
    try:
        yield
    except (InputError, MissingError):
        raise
    except Exception as error:
        what = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
        raise DamagedError(f"{path} cannot be read: {what}; {remedy}") from error


def read_json(path: Path, remedy: str = "restore it, or remove it") -> dict[str, Any]:
    """The object in a JSON file. Raises DamagedError if there is none."""
    with reading(path, remedy):
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it holds no JSON object")
    return value
