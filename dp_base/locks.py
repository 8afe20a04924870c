"""Locks that give a folder one writer at a time.

They are filelock's, by flock(2): they end with their process, and hold between machines on NFS with lockd. Where a file
system has none, a warning says so.
"""

import contextlib
import errno
import itertools
import logging
import os
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dp_base.errors import InputError
from dp_base.files import LOCK, as_input_error, discard_parts, unused

if TYPE_CHECKING:
    from filelock import FileLock  # imported on first use, since all commands start with this module

log = logging.getLogger(__name__)
patience = 0.0  # seconds that this process waits for a lock that another process holds, before it is an error
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # Lustre mounted without flock, NFS 3 without lockd
REMOVALS = 3  # how often other processes may remove a folder while this one makes it and waits for its lock


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make this process the folder's only writer within the block, or raise InputError.

    The folder is made, cleaned of what killed writers left, and removed if the block leaves it empty.
    """
    made = [folder, *_missing(folder.parent)]
    with as_input_error(folder):
        lock = _acquire(folder / LOCK, folder, patience)
    with _holding(lock, folder, "", made):
        yield


@contextlib.contextmanager
def locked_beside(path: Path, wait: bool = False) -> Iterator[None]:
    """Make this process the only writer of what appears as a whole at the block's end; else raise InputError.

    `wait`: for other writers, however long they take.
    """
    with contextlib.nullcontext() if wait else as_input_error(path):
        path = path.resolve()
        made = _missing(path.parent)
        lock = _acquire(path.with_name(f".{path.name}{LOCK}"), path, -1 if wait else patience)
    with _holding(lock, path.parent, path.name, made):
        yield


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
            hint = "give a new or an empty folder"
            if begun:
                hint = "--resume goes on with what is finished there, another --out begins anew"
            raise InputError(f"--out {out} is not empty: {hint}")
        try:
            yield
        except KeyboardInterrupt as stop:
            if not has_journal():
                raise
            why = f"{stop}; " if str(stop) else ""
            raise KeyboardInterrupt(
                f"{why}interrupted: what is finished is in {out}; --resume goes on from there"
            ) from None


def _missing(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _acquire(file: Path, what: Path, timeout: float) -> "FileLock | None":
    """The lock; None where there are none."""
    from filelock import FileLock, Timeout

    try:
        for _ in range(REMOVALS):
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(file, timeout=timeout, fallback_to_soft=False)
            with contextlib.suppress(FileNotFoundError):  # who held the lock left the folder empty, and removed it
                lock.acquire()
                break
        else:
            raise InputError(f"{file.parent} is removed by another process again and again")
    except Timeout:
        owner = ""
        with contextlib.suppress(OSError):  # it has not written who it is yet
            owner = file.read_text(encoding="utf-8")
        raise InputError(f"{what} is being written by {owner or 'another process'}: wait for it, or stop it") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning("%s: this file system has no locks; write there from one process only", what)
        return None
    with contextlib.suppress(OSError):  # on a full disk the lock holds, and only the message to others says less
        file.write_text(_this_process(), encoding="utf-8")
    return lock


@contextlib.contextmanager
def _holding(lock: "FileLock | None", folder: Path, name: str, made: list[Path]) -> Iterator[None]:
    """The lock's file is deleted while it is locked: waiters check that it still exists.

    Of the folders that were made, each in the next one, empty ones are removed in the end.
    """
    try:
        discard_parts(folder, name)
        yield
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)
            lock.release()
        with contextlib.suppress(OSError):  # it is not empty
            for each in made:
                each.rmdir()


def _this_process() -> str:
    began = datetime.now().astimezone().isoformat(" ", "seconds")
    words = itertools.takewhile(lambda word: not word.startswith("-"), sys.argv[1:])  # options may hold secrets
    command = " ".join([Path(sys.argv[0]).name, *words])
    return f"process {os.getpid()} on {socket.gethostname()} since {began} ({command})"
