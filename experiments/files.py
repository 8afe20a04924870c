"""The folder of --out: claimed before any work is done, and not left behind empty."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dp_theory.errors import InputError


@contextlib.contextmanager
def claimed(out: Path | None, journal: str | None = None, resume: bool = False) -> Iterator[None]:
    """Make `out`, or refuse it unless it is empty and can be written to; remove it if the block leaves it empty.

    journal: the file in which the command keeps finished work; with `resume`, a folder that has it is welcome.
    An interrupt that leaves a journal says how to go on.
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
        with contextlib.suppress(OSError):  # not empty
            out.rmdir()
