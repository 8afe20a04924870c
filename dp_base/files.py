"""Writes files and folders whole or not at all, first under a hidden name: PART, the process, a random word, the name.

The name is new each time, so no link is followed, and the next writer deletes what a killed process left.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dp_base.errors import InputError

PART = ".part-"
LOCK = ".lock"  # name of the file that locks its folder, see dp_base.locks
FORMER = "former"  # name under which a folder that is being replaced is kept until the new one is in place
MAX_NAME_BYTES = 200  # bytes; file systems allow 255, and part_of and file endings lengthen a name
# The file must not exist yet, not even as a link. Windows has no O_NOFOLLOW.
NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # no space, no quota, read-only, over `ulimit -f`


def part_of(name: str) -> str:
    """The hidden name of what this process writes until it becomes `name`."""
    return f"{PART}{os.getpid()}-{name}"


def discard_parts(folder: Path, name: str = "") -> None:
    """Delete what dead processes left half-written, and move back a folder whose replacement was never finished."""
    random_start = "([0-9a-f]{8}-)?"  # atomic_file adds it to the names of files
    random_ending = "(-[a-z0-9_]{8})?"  # tempfile adds it to the names of folders
    final_name = random_start + re.escape(name) + random_ending if name else ".*"
    for path in folder.glob(f"{PART}*"):
        part = re.fullmatch(rf"{re.escape(PART)}(\d+)-({final_name})", path.name)
        if not part:
            continue
        former, replaced = path / FORMER, folder / part[2].rpartition("-")[0]
        # The process was killed after it moved the old folder aside and before the new one had its name. This is
        # certain even if a process with its number is alive: in a container, that may be this one.
        killed_between = former.exists() and not replaced.exists()
        if not killed_between and _is_alive(int(part[1])):
            continue
        with contextlib.suppress(OSError):  # what cannot be removed now is left for the next writer
            if killed_between:
                os.rename(former, replaced)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _is_alive(process: int) -> bool:
    """A number that no process can have counts as alive: this project did not write the file."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # it is another user's process, or no process can have that number
        return True
    return True


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which replaces `path` if the block ends without error; the file has the umask's mode."""
    # The ending stays, because writers choose a format by it.
    partial = path.with_name(part_of(f"{secrets.token_hex(4)}-{path.name}"))
    os.close(os.open(partial, NEW_FILE, 0o666))
    try:
        with with_filename(path):
            yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def as_input_error(path: Path) -> Iterator[None]:
    """Turn an OSError, but a full disk's, into an InputError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        nearest = next(each for each in (path, *path.parents) if os.path.lexists(each))
        why = error.strerror or error  # Arrow gives no number
        if not nearest.exists():
            why = f"{nearest} is a link that leads nowhere"
        elif isinstance(error, FileExistsError | NotADirectoryError):
            why = f"{nearest} is a file; name a folder"
        raise InputError(f"{path} cannot be written: {why}") from error


@contextlib.contextmanager
def with_filename(path: Path) -> Iterator[None]:
    """Add `path` to an OSError without a file, such as one of writing to an open file."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `strict_json`, whole or not at all."""
    write_text(path, strict_json(value, indent=2) + "\n")


def append_row(log: Path, row: Mapping[str, Any]) -> None:
    """Add a line of `strict_json`, in place of one that was cut short."""
    with with_filename(log), open(log, "ab+") as file:
        file.seek(max(0, file.tell() - 1))
        if file.read() not in b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write(f"{strict_json(row)}\n".encode())


def disk_problem(error: BaseException) -> str | None:
    """The system's message on a full or read-only disk; Rust and C++ libraries give its code in their message only."""
    if isinstance(error, OSError) and error.errno in FULL:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    words = " ".join(str(error).split())
    for code in FULL:
        if f"os error {code})" in words or os.strerror(code) in words:
            return words[:200]
    return None


def strict_json(value: Any, indent: int | None = None) -> str:
    """JSON that every parser reads: nan and inf become null, arrays become lists, and keys text."""
    return json.dumps(_strict(value), indent=indent, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if hasattr(value, "tolist"):  # arrays and scalars of numpy and torch
        return _strict(value.tolist())
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    return value


@contextlib.contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder, which becomes `path`, or with `replace` replaces it, if the block ends without error."""
    path = path.resolve()  # if it is a link, its target is replaced and the link stays
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{part_of(path.name)}-") as temporary:
        staged, former = Path(temporary) / "whole", Path(temporary) / FORMER
        staged.mkdir()
        with with_filename(path):
            yield staged
        share_files(staged)
        try:
            if replace and path.exists():
                os.rename(path, former)
            os.rename(staged, path)
        finally:
            if former.exists() and not path.exists():  # interrupted between the two
                os.rename(former, path)


def share_files(folder: Path) -> None:
    """Give new files the folder's permissions to read: safetensors gives them to the owner alone."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) | mode)


def to_disk(folder: Path) -> None:
    """Sync a folder and its files, so that they survive a loss of power."""
    for path in (*folder.iterdir(), folder):
        with contextlib.suppress(OSError):  # some file systems cannot do this, and Windows cannot for folders
            place = os.open(path, os.O_RDONLY)
            try:
                os.fsync(place)
            finally:
                os.close(place)


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """Yield an empty folder, whose content moves to `folder` if the block ends without error. Nothing is replaced."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{part_of('whole')}-") as temporary:
        staged = Path(temporary) / "whole"
        staged.mkdir()
        yield staged
        share_files(staged)
        for path in sorted(staged.iterdir()):
            os.rename(path, folder / path.name)


def file_name(text: str) -> str:
    """The text as a file's name: a slash is escaped, and a long text is cut and ends with its hash."""
    name = text.replace("/", "%2F")
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    ending = f"-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return name.encode()[: MAX_NAME_BYTES - len(ending)].decode(errors="ignore") + ending


def remove(path: Path) -> None:
    """Remove a file or folder, if it exists. NFS keeps a file that another process still reads."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f"{part_of(path.name)}-", ignore_cleanup_errors=True
    ) as temporary:
        os.rename(path, Path(temporary) / path.name)


def unused(folder: Path) -> bool:
    """Whether a folder is missing, or holds only its lock and leftovers of a killed process."""
    if not folder.is_dir():
        return not folder.exists()
    return all(path.name.startswith(PART) or path.name == LOCK for path in folder.iterdir())
