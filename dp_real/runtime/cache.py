"""The user's cache: what was trained once is kept under a hash of all that it depends on."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from filelock import FileLock

from dp_base.files import PART, remove, whole_folder


def cache_folder() -> Path:
    """Where cached things live."""
    return Path(platformdirs.user_cache_dir("deliberate-practice"))


def cached(name: str, depends: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """The folder that `make` filled, now or in an earlier run with the same `depends`; whole or not there at all.

    One process makes it while others that want the same wait: a generator is not trained twice. The lock is that of an
    open file, so that it ends with its process, however that ends.
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
                (staged / "depends.json").write_text(json.dumps(depends, indent=2))
    return folder


def fingerprints(*arrays: Any) -> list[str]:
    """A hash of each array's values, for what is made from them (torch tensors on the CPU, or numpy arrays)."""
    return [hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() for array in arrays]


@dataclass(frozen=True)
class Entry:
    """A cached folder: its name below the cache, what it was made from, its bytes, and when (seconds since 1970)."""

    name: str
    depends: dict[str, Any]
    size: int
    made: float


def entries() -> list[Entry]:
    """What is in the cache, by name."""
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
    """Remove all that is cached, what killed runs left half-made included."""
    remove(cache_folder())
