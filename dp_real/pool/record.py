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

from dp_base.checksums import RECORD, changed, digests, read_json
from dp_base.errors import DamagedError, InputError, MissingError
from dp_base.files import write_text
from dp_base.formats import KEY, require_format

FORMAT = 1  # of a pool: its columns, and its record
LARGEST = 2**64 - 1  # Lance counts the names of its manifests down from here
REMEDY = "restore the file, or go back to an earlier checkpoint: dp real resume does, if the run is not complete"


@dataclass
class PoolRecord:
    """files: checksum by name, in the order of the rows. versions: number -> rows, files (how many), manifest."""

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
        self.files = {name: self.files[name] for name in names if name in self.files}
        self.files |= digests(pool, [name for name in names if name not in self.files])
        manifest = digests(pool, [_manifest(pool, version)])
        self.versions = {number: each for number, each in self.versions.items() if each["files"] <= len(names)}
        self.versions[str(version)] = {"rows": data.count_rows(), "files": len(names), "manifest": manifest}
        record = {KEY: FORMAT, "files": self.files, "versions": self.versions}
        write_text(pool / RECORD, json.dumps(record) + "\n")  # in one line: indenting is 10 times slower

    def drop_strays(self, pool: Path) -> None:
        """Delete data files that no recorded version has: those of a round that was not committed, or was dropped."""
        for path in (pool / "data").iterdir() if self.files else ():
            if f"data/{path.name}" not in self.files:
                path.unlink()

    def problem(self, pool: Path, *versions: int) -> str | None:
        """The first file of these versions that is missing or changed, and what is wrong; None if all are as written.

        Each file is read once.
        """
        unknown = next((version for version in versions if str(version) not in self.versions), None)
        if unknown is not None:
            return f"{pool / RECORD} lacks version {unknown} of the pool"
        known = [self.versions[str(version)] for version in versions]
        names = list(self.files)[: max((version["files"] for version in known), default=0)]
        manifests = {name: checksum for version in known for name, checksum in version["manifest"].items()}
        return changed(pool, manifests | {name: self.files[name] for name in names})


def verify_pool(pool: Path, *versions: int) -> None:
    """Raise DamagedError if a file of these versions of a pool is missing or changed."""
    problem = PoolRecord.read(pool).problem(pool, *versions)
    if problem:
        raise DamagedError(f"{problem}; {REMEDY}")


def uri(pool: Path) -> str:
    """A pool's path for Lance, which would take one such as exp:1/pool for an address."""
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
    """Delete the manifests after a version that Lance cannot read, since it could not commit another one then."""
    for manifest in (pool / "_versions").glob("*.manifest"):
        number = int(manifest.stem)
        number = LARGEST - number if len(manifest.stem) == 20 else number
        try:
            _ = number > version and lance.dataset(uri(pool), version=number).count_rows()
        except (ValueError, OSError):
            manifest.unlink()


@contextmanager
def opening(pool: Path) -> Iterator[None]:
    """Raise DamagedError, which names the pool, for what Lance raises within the block."""
    try:
        yield
    except (InputError, MissingError):
        raise
    except Exception as error:
        what = " ".join(str(error).split()).partition(", /")[0][:200]
        raise DamagedError(f"{pool} cannot be read: {what}; {REMEDY}") from error


def _manifest(pool: Path, version: int) -> str:
    """The name of a version's manifest, in either of Lance's two ways to number them."""
    name = f"_versions/{LARGEST - version:020d}.manifest"
    return name if (pool / name).exists() else f"_versions/{version}.manifest"
