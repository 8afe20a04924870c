"""Locks that give a folder one writer at a time.

They are those of flock(2), which end with their process, and hold between machines on NFS with lockd. Where a file
system has none, a warning says so.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
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
from dp_base.files import LOCK, asked_for, discard_parts, unused

if TYPE_CHECKING:
    from filelock import FileLock  # imported on first use, since all commands start with this module

log = logging.getLogger(__name__)
patience = 0.0  # seconds that this process waits for a lock that another process holds, before it is an error
_kept: dict[Path, int] = {}  # the open locks of folders that `keep` was called for
REMOVALS = 3  # how often other processes may remove a folder while this one makes it and waits for its lock
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # Lustre mounted without flock, NFS 3 without lockd


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make this process the folder's only writer within the block, or raise InputError.

    The folder is made, cleaned of what killed writers left, and removed if the block leaves it empty.
    """
    with asked_for(folder):
        lock = _acquire_in(folder)
    try:
        with _holding(lock, folder):
            yield
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


@contextlib.contextmanager
def locked_beside(path: Path) -> Iterator[None]:
    """Make this process the only writer of what appears as a whole at the block's end; else raise InputError."""
    with asked_for(path):
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire(_lock_beside(path), path)
    with _holding(lock, path.parent, path.name):
        yield


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Wait for other writers of `path`, then be its only writer. The lock lies beside it."""
    lock = _acquire(_lock_beside(path), path, wait=True)
    with _holding(lock, path.parent, path.name):
        yield


def keep(folder: Path) -> None:
    """Keep others from clearing a folder, which is made, while this process lives, where that is possible."""
    with contextlib.suppress(OSError, ImportError):
        import fcntl

        while folder not in _kept:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if os.fstat(lock).st_nlink:  # else it was removed with its folder while this process waited
                _kept[folder] = lock
            else:
                os.close(lock)


@contextlib.contextmanager
def clearing(folder: Path) -> Iterator[None]:
    """Run a block that removes a folder; InputError if other processes `keep` it."""
    from filelock import lock_descriptor

    own = _kept.pop(folder, None)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666) if own is None else own
    try:
        free = True
        with contextlib.suppress(OSError):  # where the file system has no locks, nobody can know
            free = lock_descriptor(lock, blocking=False)
        if not free:
            raise InputError(f"{folder} is in use: wait for the runs that go on, or stop them")
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def claimed(out: Path | None, journal: str | None = None, resume: bool = False) -> Iterator[None]:
    """Lock the folder of --out, which must be empty, or hold the `journal` of finished work if `resume` is set."""
    if out is None:
        yield
        return

    def has_journal() -> bool:
        return journal is not None and (out / journal).exists()

    with locked(out):
        begun = has_journal()
        if not unused(out) and not (resume and begun):
            hint = "--resume goes on with what is finished there" if begun else "give a new or an empty folder"
            raise InputError(f"--out {out} is not empty: {hint}")
        try:
            yield
        except KeyboardInterrupt:
            if not has_journal():
                raise
            advice = f"interrupted: what is finished is in {out}; --resume goes on from there"
            raise KeyboardInterrupt(advice) from None


def _acquire_in(folder: Path) -> FileLock | None:
    for _ in range(REMOVALS):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # who held the lock left the folder empty, and removed it
            return _acquire(folder / LOCK, folder)
    folder.mkdir(parents=True, exist_ok=True)
    return _acquire(folder / LOCK, folder)


def _acquire(file: Path, what: Path, wait: bool = False) -> FileLock | None:
    """Lock a file, after `patience` seconds at most unless `wait`; None where the file system has no locks."""
    from filelock import FileLock, Timeout

    lock = FileLock(file, timeout=-1 if wait else patience, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{what} is being written by {_owner(file)}: wait for it, or stop it") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning("%s: this file system has no locks; write there from one process only", what)
        return None
    with contextlib.suppress(OSError):  # on a full disk the lock holds, and only the message to others says less
        file.write_text(json.dumps(_this_process()), encoding="utf-8")
    return lock


@contextlib.contextmanager
def _holding(lock: FileLock | None, folder: Path, name: str = "") -> Iterator[None]:
    """Run a block under a lock whose file is deleted while it is locked: waiters check that it still exists."""
    try:
        discard_parts(folder, name)
        yield
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)
            lock.release()


def _lock_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}{LOCK}")


def _this_process() -> dict[str, str | int]:
    began = datetime.now().astimezone().isoformat(" ", "seconds")
    words = itertools.takewhile(lambda word: not word.startswith("-"), sys.argv[1:])  # options may hold secrets
    command = " ".join([Path(sys.argv[0]).name, *words])
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": began, "command": command}


def _owner(file: Path) -> str:
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']} since {owner['since']} ({owner['command']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has not written its description yet
        return "another process"
