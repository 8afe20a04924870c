"""The user's cache: what was made once is kept under a hash of all that it depends on."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from filelock import FileLock

from dp_base.files import PART, remove, whole_folder, write_json


def cache_folder() -> Path:
    """The folder of the cache."""
    return Path(platformdirs.user_cache_dir("deliberate-practice"))


def cached(name: str, depends: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """Return the folder that `make` filled, now or earlier with the same `depends`. It is never left half-made.

    While one process makes it, others that want the same wait, so that a generator is not trained twice. The lock is on
    an open file, so it ends with its process in any case.
    """
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_folder() / f"{name}-{digest}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.exists():
            with whole_folder(folder) as staged:
                make(staged)
                write_json(staged / "depends.json", depends)
    return folder


def fingerprints(*arrays: Any) -> list[str]:
    """A hash of the values of each array (torch tensors on the CPU, or numpy arrays)."""
    return [hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() for array in arrays]


@dataclass(frozen=True)
class Entry:
    """A cached folder: its name below the cache, what it was made from, size in bytes, time in seconds since 1970."""

    name: str
    depends: dict[str, Any]
    size: int
    made: float


def entries() -> list[Entry]:
    """The entries of the cache, by name."""
    root = cache_folder()
    return [
        Entry(
            str(file.parent.relative_to(root)),
            json.loads(file.read_text()),
            sum(path.stat().st_size for path in file.parent.rglob("*") if path.is_file()),
            file.stat().st_mtime,
        )
        for file in sorted(root.rglob("depends.json"))
        if not any(part.startswith(PART) for part in file.parts)  # half-made
    ]


def clear() -> None:
    """Remove the whole cache, including what killed runs left half-made."""
    remove(cache_folder())
