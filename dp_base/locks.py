"""Locks that give a folder one writer at a time.

They are filelock's, by flock(2): they end with their process, and hold between machines on NFS with lockd. On a file
system without locks a warning is logged.
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
    from filelock import FileLock  # imported on first use, since every command imports this module

log = logging.getLogger(__name__)
default_timeout = 0.0  # seconds that this process waits for another process's lock before it raises an error
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # Lustre mounted without flock, NFS 3 without lockd
REMOVALS = 3  # how often other processes may remove a folder while this one makes it and waits for its lock


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make this process the folder's only writer within the block, or raise InputError.

    The folder is created, what killed writers left is deleted, and a folder that the block leaves empty is removed.
    """
    made = [folder, *_missing(folder.parent)]
    with as_input_error(folder):
        lock = _acquire(folder / LOCK, folder, default_timeout)
    with _holding(lock, folder, "", made):
        yield


@contextlib.contextmanager
def locked_beside(path: Path, wait: bool = False) -> Iterator[None]:
    """Lock what appears whole at the block's end, or raise InputError.

    With `wait`, wait for other writers, however long.
    """
    with contextlib.nullcontext() if wait else as_input_error(path):
        path = path.resolve()
        made = _missing(path.parent)
        lock = _acquire(path.with_name(f".{path.name}{LOCK}"), path, -1 if wait else default_timeout)
    with _holding(lock, path.parent, path.name, made):
        yield


@contextlib.contextmanager
def claimed(out: Path | None, journal: str | None = None, resume: bool = False) -> Iterator[None]:
    """Lock the folder of --out. It must be empty or, if `resume` is set, hold the `journal` of finished work."""
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
                hint = "--resume goes on with what is finished there, another --out starts anew"
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
    """The lock; None without locks."""
    from filelock import FileLock, Timeout

    try:
        for _ in range(REMOVALS):
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(file, timeout=timeout, fallback_to_soft=False)
            with contextlib.suppress(FileNotFoundError):  # the previous holder left the folder empty, and removed it
                lock.acquire()
                break
        else:
            raise InputError(f"{file.parent} is removed by another process again and again")
    except Timeout:
        owner = ""
        with contextlib.suppress(OSError):  # it has not written its name yet
            owner = file.read_text(encoding="utf-8")
        raise InputError(f"{what} is being written by {owner or 'another process'}: wait for it, or stop it") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning("%s: this file system has no locks; write there from one process only", what)
        return None
    with contextlib.suppress(OSError):  # on a full disk the lock holds, and only its message names no owner
        file.write_text(_this_process(), encoding="utf-8")
    return lock


@contextlib.contextmanager
def _holding(lock: "FileLock | None", folder: Path, name: str, made: list[Path]) -> Iterator[None]:
    """The lock's file is deleted while it is locked, so waiting processes check that it exists.

    At the end, those folders that were created here and are empty are removed.
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
