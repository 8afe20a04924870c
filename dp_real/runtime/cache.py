"""The user's cache: what was made once is kept under a hash of all that it depends on."""

import errno
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from dp_base.checksums import RECORD, damage, json_digest, read_json, seal
from dp_base.errors import DamagedError, MissingError
from dp_base.files import FULL, PART, disk_problem, remove, whole_folder, write_json
from dp_base.locks import in_turn

log = logging.getLogger(__name__)
DEPENDS = "depends.json"
UNFINISHED = ".unfinished"
UNWRITABLE = (*FULL, errno.EACCES, errno.EPERM, errno.ENOTDIR)
_intact: set[Path] = set()  # entries that this process has made or looked through


def cache_folder() -> Path:
    """The folder of the cache."""
    return Path(platformdirs.user_cache_dir("deliberate-practice"))


def cached(name: str, depends: Mapping[str, Any], make: Callable[..., None], resumable: bool = False) -> Path:
    """Return the folder that `make` filled, now or earlier with the same `depends`. It is never left half-made.

    make(folder) fills it. If it is `resumable`, it is make(folder, unfinished): the second is the path of a folder in
    which it may keep what it needs to go on after a kill. That one is deleted once the first is made.

    While one process makes it, others that want the same wait, so that a generator is not trained twice. The lock is on
    an open file, so it ends with its process in any case. A damaged folder is made again, which a remark says. Raises
    MissingError if the cache cannot be written to.
    """
    digest = json_digest(depends, sort_keys=True)[:16]
    folder = cache_folder() / f"{name}-{digest}"
    if _usable(folder):
        return folder
    with _writable(folder.parent), in_turn(folder):
        if not _usable(folder):
            problem = damage(folder)
            if problem:
                log.warning("%s; it is made again", problem)
            unfinished = folder.with_name(folder.name + UNFINISHED)
            with whole_folder(folder, replace=True) as staged:
                make(*(staged, unfinished) if resumable else (staged,))
                write_json(staged / DEPENDS, depends)
                seal(staged)
            remove(unfinished)
    _intact.add(folder)
    return folder


def _usable(folder: Path) -> bool:
    """Whether an entry is there, and is as it was made."""
    if folder not in _intact or not folder.exists():
        _intact.discard(folder)
        if not folder.exists() or damage(folder):
            return False
        _intact.add(folder)
    return True


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Make a folder of the cache. Raises MissingError if it, or what the block writes, lacks room or permission."""
    began = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        began = True
        yield
    except Exception as error:
        what = disk_problem(error, UNWRITABLE)
        if began and not what:
            raise
        remedy = "make room there, or let XDG_CACHE_HOME name a folder that has some"
        raise MissingError(f"the cache {cache_folder()} cannot be written to: {what or error}; {remedy}") from error


def fingerprints(*arrays: Any) -> list[str]:
    """A hash of the values of each array (torch tensors on the CPU, or numpy arrays)."""
    return [hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() for array in arrays]


@dataclass(frozen=True)
class Entry:
    """A cached folder: its name below the cache, what it was made from, size in bytes, time in seconds since 1970.

    problem: what is damaged in it, if anything is.
    """

    name: str
    depends: dict[str, Any]
    size: int
    made: float
    problem: str = ""


def entries() -> list[Entry]:
    """The entries of the cache, by name, broken ones included."""
    root = cache_folder()
    marks = sorted({file.parent for mark in (DEPENDS, RECORD) for file in root.rglob(mark)})
    made = (folder for folder in marks if not any(part in str(folder.relative_to(root)) for part in (PART, UNFINISHED)))
    return [_entry(folder, root) for folder in made]


def leftovers() -> list[Path]:
    """What is half-made in the cache: by a process that is at work, or that was killed."""
    marks = (path for pattern in (f"{PART}*", f"*{UNFINISHED}") for path in cache_folder().rglob(pattern))
    return sorted(path for path in marks if not any(PART in above.name for above in path.parents))


def _entry(folder: Path, root: Path) -> Entry:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    problem, depends = damage(folder), {}
    try:
        depends = read_json(folder / DEPENDS)
    except DamagedError as error:
        problem = problem or str(error).partition(";")[0]
    return Entry(folder.relative_to(root).as_posix(), depends, size, folder.stat().st_mtime, problem or "")


def broken_entries(among: Iterable[Entry] | None = None) -> dict[Path, str]:
    """The entries that are damaged: folder -> what is wrong. `cached` makes them again when they are needed.

    among: the entries, if they are known; to list them is to read them all.
    """
    found = entries() if among is None else among
    return {cache_folder() / entry.name: entry.problem for entry in found if entry.problem}


def clear() -> None:
    """Remove the whole cache, including what killed runs left half-made."""
    remove(cache_folder())
    _intact.clear()
