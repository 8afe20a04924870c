"""Writes files and folders whole or not at all.

While something is written, it has a hidden name in the same folder: PART, the process, and the name that it will have.
A killed process may leave such a file behind; readers ignore it, and the next writer of the folder deletes it.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PART = ".part-"
LOCK = ".lock"  # the file by which a folder is locked, see dp_base.locks
FORMER = "former"  # what a folder replaces, until it is there
LONGEST_NAME = 200  # bytes; file systems take 255, and part_of and our endings add to it
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def part_of(name: str) -> str:
    """The hidden name of what this process writes, until it becomes `name`."""
    return f"{PART}{os.getpid()}-{name}"


def discard_parts(folder: Path, name: str = "") -> None:
    """Delete from a folder what dead processes left half-written, of `name` if it is given; put back what they moved.

    For the holder of the folder's lock, or that of `name`: nobody on another machine is writing there, and here a
    process is dead if no process has its number.
    """
    whole = re.escape(name) + "(-[a-z0-9_]{8})?" if name else ".*"  # folders have tempfile's ending
    for path in folder.glob(f"{PART}*") if folder.is_dir() else ():
        part = re.fullmatch(rf"{re.escape(PART)}(\d+)-({whole})", path.name)
        if not part:
            continue
        former, place = path / FORMER, folder / part[2].rpartition("-")[0]
        lost = former.exists() and not place.exists()  # killed just before the new one had its name
        if lost or not _alive(int(part[1])):  # in a container, this process may have its number
            with contextlib.suppress(OSError):  # it stays for the next one
                if lost:
                    os.rename(former, place)
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's; no number of a process
        pass
    return True


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to. It replaces `path` if the block ends without error, else it is deleted.

    Raises OSError if the folder of `path` cannot be written to.
    """
    partial = path.with_name(part_of(path.name))  # keeps the ending, by which writers choose a format
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a file of strict JSON, whole or not at all; see `strict_json`."""
    write_text(path, strict_json(value, indent=2) + "\n")


def disk_problem(error: BaseException, codes: Sequence[int] = FULL) -> str | None:
    """What a disk that is full or read-only said, with the file if it is known; None for any other error.

    codes: errors of the system that count. Libraries that are not written in Python tell them in words only.
    """
    if isinstance(error, OSError) and error.errno in codes:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    words = " ".join(str(error).split())
    told = any(f"os error {code})" in words or os.strerror(code) in words for code in codes)
    return words[:200] if told else None


def strict_json(value: Any, indent: int | None = None) -> str:
    """JSON that every parser reads: nan and inf become null, arrays become lists, keys become text."""
    return json.dumps(_strict(value), indent=indent, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if hasattr(value, "tolist"):
        return _strict(value.tolist())
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    return value


@contextlib.contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill. It becomes `path` if the block ends without error, else it is deleted.

    Creates the parents of `path`. Replaces an empty folder at `path`. Raises OSError if anything else is there, unless
    `replace` is set.
    """
    path = path.resolve()  # a link stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{part_of(path.name)}-") as temporary:
        staged = Path(temporary) / "whole"
        staged.mkdir()
        yield staged
        if replace and path.exists():
            os.rename(path, Path(temporary) / FORMER)
        os.rename(staged, path)


def to_disk(folder: Path) -> None:
    """Have the system write a folder and its files to the disk now, so that they outlive a loss of power."""
    for path in (*folder.iterdir(), folder):
        with contextlib.suppress(OSError):  # a file system that cannot, or folders on Windows
            place = os.open(path, os.O_RDONLY)
            try:
                os.fsync(place)
            finally:
                os.close(place)


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to fill. What it holds moves to `folder`, which exists, if the block ends without error.

    Else it is deleted. Raises OSError if `folder` has an entry of that name already, or cannot be written to.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=PART) as temporary:
        yield Path(temporary)
        for path in sorted(Path(temporary).iterdir()):
            os.rename(path, folder / path.name)


def file_name(text: str) -> str:
    """The text as the name of one file: a slash in it begins no folder, and what is too long for a name is cut."""
    name = text.replace("/", "%2F")
    if len(name.encode()) <= LONGEST_NAME:
        return name
    ending = f"-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return name.encode()[: LONGEST_NAME - len(ending)].decode(errors="ignore") + ending


def remove(path: Path) -> None:
    """Remove a file or folder, if it exists. A folder disappears in one step, before its files are deleted.

    NFS keeps a file that a process still reads, and with it the folder under its hidden name, which is no error.
    """
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f"{part_of(path.name)}-", ignore_cleanup_errors=True
    ) as temporary:
        os.rename(path, Path(temporary) / path.name)


def unused(folder: Path) -> bool:
    """Whether a folder is missing, or holds only its lock and what a killed process left half-written."""
    return not folder.exists() or (
        folder.is_dir() and all(path.name.startswith(PART) or path.name == LOCK for path in folder.iterdir())
    )
