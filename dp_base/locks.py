"""Locks: a folder has one writer at a time.

A lock is held by an open file, so the kernel releases it when its process ends, however that happens. The locks are
those of flock(2). Linux passes them on to the server of an NFS (version 4, or 3 with lockd), so that they hold between
machines. Where a file system has no locks at all, a remark says so, and work goes on without.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from dp_base.errors import InputError
from dp_base.files import LOCK, discard_parts, unused

log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the folder's only writer within the block. The folder is made, and removed if the block leaves it empty.

    What killed writers left half-written directly in it is deleted first. Raises InputError, which names the writer, if
    there is one already, and if the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(unwritable(folder, error)) from None
    try:
        with _held(folder / LOCK, folder):
            discard_parts(folder)
            yield
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


@contextlib.contextmanager
def locked_beside(path: Path) -> Iterator[None]:
    """The same for what appears as a whole, and not before the block ends. The lock lies beside it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(unwritable(path, error)) from None
    with _held(path.with_name(f".{path.name}{LOCK}"), path):
        discard_parts(path.parent, path.name)
        yield


@contextlib.contextmanager
def claimed(out: Path | None, journal: str | None = None, resume: bool = False) -> Iterator[None]:
    """Lock the folder of --out; it is made, and removed if the block leaves it empty. None: do nothing.

    journal: the file in which the command keeps finished work. With `resume`, a folder that holds it is accepted.
    Raises InputError, before the block, if the folder is not empty, or as `locked` does. If a journal is there, an
    interrupt is raised again as a KeyboardInterrupt that says how to resume.
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


def unwritable(folder: Path, error: OSError) -> str:
    """The message for a folder of --out in which nothing can be written."""
    return f"--out {folder} is not a folder that can be written to: {error.strerror}"


@contextlib.contextmanager
def _held(file: Path, what: Path) -> Iterator[None]:
    """Hold a lock file while in the block, and delete it then. It says who holds it."""
    lock = FileLock(file, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{what} is being written by {_owner(file)}: wait for it, or stop it") from None
    except NotImplementedError:
        log.warning("%s: this file system has no locks; write there from one process only", what)
        yield
        return
    except OSError as error:
        raise InputError(unwritable(what, error)) from None
    try:
        with contextlib.suppress(OSError):  # a full disk: the lock holds, and only its message is poorer
            file.write_text(json.dumps(_self()), encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink()  # while it is held: who waits for the former file, waits for nothing
        lock.release()


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
