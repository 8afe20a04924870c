"""Locks: a folder has one writer at a time.

A lock is held by an open file, so the kernel releases it when its process ends, however that happens. The locks are
those of flock(2). Linux passes them on to the server of an NFS (version 4, or 3 with lockd), so that they hold between
machines. Where a file system has no locks at all, a remark says so, and work goes on without.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dp_base.errors import InputError
from dp_base.files import LOCK, discard_parts, unused

if TYPE_CHECKING:
    from filelock import FileLock  # imported on first use, since all commands start with this module

log = logging.getLogger(__name__)
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # Lustre mounted without flock, NFS 3 without lockd


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the folder's only writer within the block. The folder is made, and removed if the block leaves it empty.

    What killed writers left half-written directly in it is deleted first. Raises InputError, which names the writer, if
    there is one already, and if the folder cannot be written to.
    """
    with _refusing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = _acquire(folder / LOCK, folder)
    try:
        with _holding(lock, folder):
            yield
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


@contextlib.contextmanager
def locked_beside(path: Path) -> Iterator[None]:
    """The same for what appears as a whole, and not before the block ends. The lock lies beside it."""
    with _refusing(path):
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire(_beside(path), path)
    with _holding(lock, path.parent, path.name):
        yield


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Wait for other writers of `path`, then be the only one within the block. The lock lies beside it.

    Raises OSError if it cannot be made.
    """
    with _holding(_acquire(_beside(path), path, wait=True), path.parent, path.name):
        yield


@contextlib.contextmanager
def claimed(out: Path | None, journal: str | None = None, resume: bool = False) -> Iterator[None]:
    """Lock the folder of --out; it is made, and removed if the block leaves it empty. None: do nothing.

    journal: the file or folder in which the command keeps finished work. With `resume`, a folder that holds it is
    accepted. Raises InputError, before the block, if the folder is not empty, or as `locked` does. If a journal is
    there, an interrupt is raised again as a KeyboardInterrupt that says how to resume.
    """
    if out is None:
        yield
        return
    with locked(out):
        begun = journal is not None and (out / journal).exists()
        if not unused(out) and not (resume and begun):
            hint = "--resume goes on with what is finished there" if begun else "give a new or an empty folder"
            raise InputError(f"--out {out} is not empty: {hint}")
        try:
            yield
        except KeyboardInterrupt:
            if journal is not None and (out / journal).exists():
                raise KeyboardInterrupt(
                    f"interrupted: what is finished is in {out}; --resume goes on from there"
                ) from None
            raise


@contextlib.contextmanager
def _refusing(out: Path) -> Iterator[None]:
    """Raise InputError in place of an OSError in the block, which makes the folder of --out."""
    try:
        yield
    except OSError as error:
        raise InputError(f"--out {out} is not a folder that can be written to: {error.strerror}") from None


def _acquire(file: Path, what: Path, wait: bool = False) -> FileLock | None:
    """Hold a lock file, and write into it who does; None where there are no locks.

    Raises InputError if somebody else holds it, unless `wait` is set, and OSError if it cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(file, timeout=-1 if wait else 0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{what} is being written by {_owner(file)}: wait for it, or stop it") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning("%s: this file system has no locks; write there from one process only", what)
        return None
    with contextlib.suppress(OSError):  # a full disk: the lock holds, and only its message is poorer
        file.write_text(json.dumps(_self()), encoding="utf-8")
    return lock


@contextlib.contextmanager
def _holding(lock: FileLock | None, folder: Path, name: str = "") -> Iterator[None]:
    """A block under a lock that is held. First deletes what dead writers left in a folder, of `name` if it is given.

    At its end the lock file is deleted while it is held (one that waited for it looks whether it is still there).
    """
    try:
        discard_parts(folder, name)
        yield
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)
            lock.release()


def _beside(path: Path) -> Path:
    """The lock file beside a path."""
    return path.with_name(f".{path.name}{LOCK}")


def _self() -> dict[str, str | int]:
    began = datetime.now().astimezone().isoformat(" ", "seconds")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": began, "command": command}


def _owner(file: Path) -> str:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        return f"process {said['pid']} on {said['host']} since {said['since']} ({said['command']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has not written it yet
        return "another process"
