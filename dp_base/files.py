"""Writes files and folders whole or not at all, and claims output folders before work begins.

While something is written, it has a hidden name that begins with PART, in the same folder. A killed process may leave
such a file behind; readers ignore it.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dp_base.errors import InputError

PART = ".part-"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to. It replaces `path` if the block ends without error, else it is deleted.

    Raises OSError if the folder of `path` cannot be written to.
    """
    partial = path.with_name(f"{PART}{os.getpid()}-{path.name}")  # keeps the ending, by which writers choose a format
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
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=PART) as temporary:
        staged = Path(temporary) / "whole"
        staged.mkdir()
        yield staged
        if replace and path.exists():
            os.rename(path, Path(temporary) / "former")
        os.rename(staged, path)


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to fill. What it holds moves to `folder`, which exists, if the block ends without error.

    Else it is deleted. Raises OSError if `folder` has an entry of that name already, or cannot be written to.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=PART) as temporary:
        yield Path(temporary)
        for path in sorted(Path(temporary).iterdir()):
            os.rename(path, folder / path.name)


def remove(path: Path) -> None:
    """Remove a file or folder, if it exists. A folder disappears in one step, before its files are deleted."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=PART) as temporary:
        os.rename(path, Path(temporary) / path.name)


def unused(folder: Path) -> bool:
    """Whether a folder is missing, or holds only what a killed process left half-written."""
    return not folder.exists() or (folder.is_dir() and all(path.name.startswith(PART) for path in folder.iterdir()))


@contextlib.contextmanager
def claimed(out: Path | None, journal: str | None = None, resume: bool = False) -> Iterator[None]:
    """Make the folder of --out, and remove it if the block leaves it empty. None: do nothing.

    journal: the file in which the command keeps finished work. With `resume`, a folder that holds it is accepted.
    Raises InputError, before the block, if the folder is not empty or cannot be written to. If a journal is there, an
    interrupt is raised again as a KeyboardInterrupt that says how to resume.
    """
    if out is None:
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        begun = journal is not None and (out / journal).exists()
        if any(out.iterdir()) and not (resume and begun):
            hint = "--resume goes on with what is finished there" if begun else "give a new or an empty folder"
            raise InputError(f"--out {out} is not empty: {hint}")
        (probe := out / ".probe").touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"--out {out} is not a folder that can be written to: {error.strerror}") from None
    try:
        yield
    except KeyboardInterrupt:
        if journal is not None and (out / journal).exists():
            raise KeyboardInterrupt(f"interrupted: what is finished is in {out}; --resume goes on from there") from None
        raise
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            out.rmdir()
