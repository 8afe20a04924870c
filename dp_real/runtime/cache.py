"""The user's cache: what was made once, named by a hash of all that it depends on."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import platformdirs

from dp_base.checksums import damage, json_digest, seal
from dp_base.errors import MissingError
from dp_base.files import atomic_folder, disk_problem, remove, write_json
from dp_base.locks import locked_beside

log = logging.getLogger(__name__)
DEPENDS = "depends.json"
UNFINISHED = ".unfinished"
_intact: set[Path] = set()  # made or verified by this process


def cache_folder() -> Path:
    """The user's cache. MissingError without a home folder."""
    try:
        return Path(platformdirs.user_cache_dir("deliberate-practice"))
    except RuntimeError as error:
        raise MissingError("there is no home folder for the cache: set XDG_CACHE_HOME to a folder") from error


def cache_size() -> int:
    """The bytes of all files in the cache."""
    size = 0
    for folder, _, names in os.walk(cache_folder()):
        for name in names:
            with suppress(FileNotFoundError):  # another process has removed it meanwhile
                size += os.stat(os.path.join(folder, name)).st_size
    return size


def cached(name: str, depends: Mapping[str, Any], make: Callable[..., None], resumable: bool = False) -> Path:
    """The folder that make(folder) filled, now or earlier with the same `depends`. Other processes wait for it.

    If `resumable`, make(folder, unfinished) stores in `unfinished` what it needs to continue. A damaged folder is made
    again.
    """
    digest = json_digest(depends, sort_keys=True)[:16]
    folder = cache_folder() / f"{name}-{digest}"
    if _usable(folder):
        return folder
    with _writable(folder.parent), locked_beside(folder, wait=True):
        if not _usable(folder):
            if folder.exists() and (problem := damage(folder)):
                log.warning("%s; it is made again", problem)
            unfinished = folder.with_name(folder.name + UNFINISHED)
            with atomic_folder(folder, replace=True) as staged:
                if resumable:
                    make(staged, unfinished)
                else:
                    make(staged)
                write_json(staged / DEPENDS, depends)
                seal(staged)
            remove(unfinished)
    _intact.add(folder)
    return folder


def _usable(folder: Path) -> bool:
    if not folder.exists():
        _intact.discard(folder)
    elif folder not in _intact and not damage(folder):
        _intact.add(folder)
    return folder in _intact


def unwritable(folder: Path | None = None, cache: Path | None = None, key: str = "XDG_CACHE_HOME") -> str | None:
    """Why the cache, a folder in it, or another `cache` set by `key` is not writable, and the remedy; None if it is."""
    there = folder or cache_folder()
    try:
        while not os.path.lexists(there):
            there = there.parent
        TemporaryFile(dir=there).close()
    except OSError as error:
        return _refusal(f"{there}: {error.strerror}", cache, key)
    return None


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    if problem := unwritable(folder):
        raise MissingError(problem)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except Exception as error:
        problem = disk_problem(error)
        if problem is None or isinstance(error, MissingError):  # such as that of another entry, which this one needs
            raise
        raise MissingError(_refusal(problem)) from error


def _refusal(problem: str, cache: Path | None = None, key: str = "XDG_CACHE_HOME") -> str:
    remedy = f"make room there, or set {key} to a folder that has some"
    return f"the cache {cache or cache_folder()} cannot be written to: {problem}; {remedy}"


def fingerprints(*arrays: Any) -> list[str]:
    """Hashes of the values of numpy arrays, or tensors on the CPU."""
    return [hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() for array in arrays]
