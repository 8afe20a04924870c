"""What a pool's folder must hold: its versions, with the checksums of the files that each is made of.

POOL/checksums.json is written after each round. Lance only ever adds files, so a version's data files are the first so
many of those that the record has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lance

from dp_base.checksums import RECORD, changed, digests
from dp_base.errors import DamagedError, InputError, MissingError
from dp_base.files import write_text
from dp_base.formats import KEY, require_format
from dp_base.reading import read_json

FORMAT = 1  # of a pool: its columns, and its record
LARGEST = 2**64 - 1  # Lance counts the names of its manifests down from here
REMEDY = "restore the file, or go back to an earlier checkpoint: dp real resume does, if the run is not complete"


_verified: dict[tuple[object, ...], str] = {}  # files that this process has read, and their checksums, by _stamp


@dataclass
class PoolRecord:
    """The files of a pool and its versions.

    `files` has the checksum of each data file by its name, in the order of the rows. `versions` has, for the number of
    each version, `rows` and `files` (how many there are), and `manifest` (the checksum of its manifest, by name).
    """

    files: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, pool: Path) -> PoolRecord:
        """The record of a pool; empty if no round is in it yet.

        Raises DamagedError if it cannot be read, InputError if it has another format.
        """
        if not (pool / RECORD).exists():
            return cls()
        record = read_json(pool / RECORD)
        require_format(record, FORMAT, pool / RECORD)
        try:
            known = cls(dict(record["files"]), {str(int(number)): dict(v) for number, v in record["versions"].items()})
            assert all({"rows", "files", "manifest"} <= version.keys() for version in known.versions.values())
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError):
            raise DamagedError(f"{pool / RECORD} is changed: it is no record of a pool; restore it") from None
        return known

    @property
    def latest(self) -> int | None:
        """The newest version; None if no round is in the pool yet."""
        return max(map(int, self.versions), default=None)

    def add(self, pool: Path, version: int) -> None:
        """Record a version that was just committed on top of the newest one recorded, and write the record."""
        data = lance.dataset(uri(pool), version=version)
        names = [f"data/{file.path}" for part in data.get_fragments() for file in part.data_files()]
        known = {name: self.files[name] for name in names if name in self.files}
        self.files = known | digests(pool, [name for name in names if name not in known])
        # Versions that had more files were dropped.
        self.versions = {number: each for number, each in self.versions.items() if each["files"] <= len(names)}
        self.versions[str(version)] = {
            "rows": data.count_rows(),
            "files": len(names),
            "manifest": digests(pool, [_manifest(pool, version)]),
        }
        record = {KEY: FORMAT, "files": self.files, "versions": self.versions}
        write_text(pool / RECORD, json.dumps(record) + "\n")  # in one line, because indenting is 10 times slower

    def drop_strays(self, pool: Path) -> None:
        """Delete data files that no recorded version has. They are of rounds that were not committed, or dropped."""
        if not self.files:
            return
        for path in (pool / "data").iterdir():
            if f"data/{path.name}" not in self.files:
                path.unlink()

    def problem(self, pool: Path, *versions: int) -> str | None:
        """Say which file of these versions is missing or changed. Return None if all files are as they were written.

        Only the first problem is named. A process reads each file once, unless the file system says that it was touched
        since: a pool may have hundreds of gigabytes, and a report of a run that goes on asks for it again and again.
        """
        unknown = next((version for version in versions if str(version) not in self.versions), None)
        if unknown is not None:
            return f"{pool / RECORD} lacks version {unknown} of the pool"
        known = [self.versions[str(version)] for version in versions]
        most_files = max((version["files"] for version in known), default=0)
        wanted: dict[str, str] = {}
        for version in known:
            wanted |= version["manifest"]
        for name in list(self.files)[:most_files]:
            wanted[name] = self.files[name]
        stamps = {name: _stamp(pool / name) for name in wanted}
        unread = {name: digest for name, digest in wanted.items() if _verified.get(stamps[name]) != digest}
        found = changed(pool, unread)
        if found is None:
            _verified.update({stamps[name]: digest for name, digest in wanted.items()})
        return found


def _stamp(file: Path) -> tuple[object, ...]:
    """What the file system says of a file, which changes when it is written to; only its name if it is not there."""
    try:
        seen = file.stat()
    except OSError:
        return (file.absolute(),)
    return (file.absolute(), seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def verify_pool(pool: Path, *versions: int) -> None:
    """Raise DamagedError if a file of these versions of a pool is missing or changed."""
    problem = PoolRecord.read(pool).problem(pool, *versions)
    if problem:
        raise DamagedError(f"{problem}; {REMEDY}")


def uri(pool: Path) -> str:
    """Return a pool's path for Lance. It is absolute, since Lance would take exp:1/pool for an address."""
    return str(pool.absolute())


def recorded_rows(pool: Path, version: int) -> int:
    """How many rows a version of a pool has. Raises DamagedError if it cannot be read."""
    with opening(pool):
        return PoolRecord.read(pool).versions[str(version)]["rows"]


def pool_problem(pool: Path, version: int) -> str | None:
    """What is wrong with a version of a pool, or None."""
    try:
        return PoolRecord.read(pool).problem(pool, version)
    except DamagedError as error:
        return str(error).partition(";")[0]


def drop_unreadable(pool: Path, version: int) -> None:
    """Delete the manifests after a version that Lance cannot read. With them, it could not commit another version."""
    for manifest in (pool / "_versions").glob("*.manifest"):
        named = int(manifest.stem)
        counts_down = len(manifest.stem) == 20
        number = LARGEST - named if counts_down else named
        if number <= version:
            continue
        try:
            lance.dataset(uri(pool), version=number).count_rows()
        except (ValueError, OSError):
            manifest.unlink()


@contextmanager
def opening(pool: Path) -> Iterator[None]:
    """Raise DamagedError, which names the pool, in place of what Lance raises within the block."""
    try:
        yield
    except (InputError, MissingError):
        raise
    except Exception as error:
        words = " ".join(str(error).split())
        cause = words.partition(", /")[0][:200]  # without the places in Lance's source that follow
        raise DamagedError(f"{pool} cannot be read: {cause}; {REMEDY}") from error


def _manifest(pool: Path, version: int) -> str:
    """Return the name of a version's manifest, in either of Lance's two ways to number them."""
    name = f"_versions/{LARGEST - version:020d}.manifest"
    return name if (pool / name).exists() else f"_versions/{version}.manifest"
