"""Checksums of a finished folder: its file RECORD, as `sha256sum -c` reads it. A folder without one is not checked."""

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dp_base.errors import DamagedError
from dp_base.files import PART, write_text

RECORD = "SHA256SUMS"
COUNT = "# files: "  # begins the first line, which is a comment to sha256sum
READERS = 8  # threads that read files; hashing releases Python's global lock
YOUNG = 10**8  # nanoseconds; a file that changed more recently may change again without a new time stamp

digest_cache: dict[tuple[int, int, int, int], str] = {}  # by the stamps of files that some process has read


def digest(path: Path) -> str:
    """SHA-256 in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any, sort_keys: bool = False) -> str:
    """SHA-256 of a value's JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=sort_keys).encode()).hexdigest()


def digests(folder: Path, names: Collection[str]) -> dict[str, str]:
    """The digest of each named file."""
    with ThreadPoolExecutor(READERS) as readers:
        return dict(zip(names, readers.map(lambda name: digest(folder / name), names), strict=True))


def cached_digests(folder: Path, names: Collection[str]) -> dict[str, str]:
    """Like `digests`, but an unchanged file is read once, whatever its name."""
    stats = {name: (folder / name).stat() for name in names}
    stamps = {name: (s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for name, s in stats.items()}
    known = {name: digest_cache[stamp] for name, stamp in stamps.items() if stamp in digest_cache}
    known |= digests(folder, [name for name in names if name not in known])
    old = time.time_ns() - YOUNG
    digest_cache.update({stamp: known[name] for name, stamp in stamps.items() if stamp[-1] < old})
    return {name: known[name] for name in names}  # in the order of `digests`


Reading = Callable[[Path, Collection[str]], Mapping[str, str]]  # such as `digests`


def seal(folder: Path, names: Iterable[str] | None = None, read: Reading = digests) -> None:
    """Write the checksums of the named files, or of all."""
    if names is None:
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    sealed = [name for name in names if name != RECORD and PART not in name]
    lines = [f"{digest}  {name}\n" for name, digest in read(folder, sealed).items()]
    write_text(folder / RECORD, "".join([f"{COUNT}{len(lines)}\n", *lines]))


def damage(folder: Path, names: Iterable[str] | None = None, read: Reading = digests) -> str | None:
    """The first file that has changed since `seal`, and its fault."""
    if not (folder / RECORD).exists():
        return None if folder.exists() else f"{folder} is missing"
    try:
        count, *lines = (folder / RECORD).read_text(encoding="utf-8").splitlines()
        record = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        if count != f"{COUNT}{len(record)}":
            raise ValueError(count)
    except ValueError:
        return f"{folder / RECORD} is cut short or changed (without it, the files are taken as they are)"
    wanted = record if names is None else {name: record[name] for name in names if name in record}
    for name in wanted:
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
    try:
        digests_now = read(folder, wanted)
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    for name in wanted:
        if digests_now[name] != wanted[name]:
            return f"{folder / name} is damaged: its checksum is not that of what was written"
    return None


def verify(folder: Path, remedy: str, names: Iterable[str] | None = None) -> None:
    """Raise DamagedError, ending with `remedy`, if the folder has changed since `seal`."""
    if problem := damage(folder, names):
        raise DamagedError(problem, remedy)
