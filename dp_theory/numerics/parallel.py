"""Independent jobs: in this process, over processes, or on a cluster, with a journal of those that are done.

joblib runs them, so that any of its backends will do. With `workers=None`, functions of this package go where the
caller says: `with joblib.parallel_config("ray"): dp_theory.sweep(..., workers=None)`. What is drawn for a job depends
on the job alone, never on where it runs, or when.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dp_base.checksums import json_digest
from dp_base.errors import InputError, MissingError
from dp_base.extras import install_command
from dp_base.workers import ending_with_this_process, quiet_when_left
from dp_theory.numerics.checks import require_workers

log = logging.getLogger(__name__)


def run_jobs(
    function: Callable,
    jobs: Sequence[tuple],
    workers: int | None = 1,
    advance: Callable[[int], None] = lambda done: None,
    journal: Path | None = None,
) -> list:
    """[function(*job) for job in jobs]; calls advance(1) as each of them ends.

    workers: processes, which end with this one; 1: here; None: what joblib is configured to. journal: a file that
    remembers results, which must be arrays then; jobs that it has are not computed again. Raises as the jobs and
    `Journal` do, and InputError for a number of workers that is none.
    """
    require_workers(workers)
    memory = None if journal is None else Journal(journal, jobs)
    results = {} if memory is None else memory.finished
    advance(len(results))
    missing = [i for i in range(len(jobs)) if i not in results]
    arriving: Any
    if workers == 1:
        arriving = (_numbered(i, function, jobs[i]) for i in missing)
    else:
        from joblib import Parallel, delayed

        with _deaf_to_interrupts():
            own = {} if workers is None else ending_with_this_process()  # None: perhaps a cluster's
            parallel = Parallel(n_jobs=workers, return_as="generator_unordered", **own)
            arriving = quiet_when_left(parallel(delayed(_numbered)(i, function, jobs[i]) for i in missing))
    for i, result in arriving:
        results[i] = result
        if memory is not None:
            memory.write(i, result)
        advance(1)
    return [results[i] for i in range(len(jobs))]


def _numbered(index: int, function: Callable, job: tuple) -> tuple[int, Any]:
    return index, function(*job)


class Journal:
    """Results by job in a file of JSON lines {"job": key of its arguments, "result": array as nested lists, "sum"}.

    finished: the results that the file has for `jobs`, by index. Python writes floats so that they are read back
    exactly. A line whose checksum is not `sum` is damaged: its job is computed again, which a remark says. A last line
    that a kill cut short is dropped. Raises InputError for a file of another kind, and TypeError for an argument that
    `described` refuses.
    """

    def __init__(self, path: Path, jobs: Sequence[tuple]) -> None:
        self.path = path
        self.keys = [job_key(job) for job in jobs]
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(path, len(whole))
        lines = whole.decode(errors="replace").split("\n")[:-1]
        records = [record for line in lines if (record := _intact(line))]
        if lines and not records:
            raise InputError(f"{path} is not a journal of finished jobs: delete it, or choose another folder")
        if len(records) < len(lines):
            log.warning("%s: damaged lines, %d; their jobs are computed again", path, len(lines) - len(records))
        known = {record["job"]: record["result"] for record in records}
        self.finished: dict[int, Any] = {i: np.array(known[key]) for i, key in enumerate(self.keys) if key in known}

    def write(self, index: int, result: np.ndarray) -> None:
        """Append the result of jobs[index]."""
        record = {"job": self.keys[index], "result": result.tolist()}
        with self.path.open("a") as file:
            file.write(json.dumps(record | {"sum": _checksum(record)}) + "\n")


def _intact(line: str) -> dict[str, Any] | None:
    """The record in a line of a journal, None if it is damaged. Earlier versions wrote no checksum."""
    try:
        record = json.loads(line)
        stated = record.pop("sum", None)
        right = stated in (None, _checksum(record)) and isinstance(record["job"], str) and "result" in record
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if right else None


def _checksum(record: dict[str, Any]) -> str:
    return json_digest(record)[:16]


def job_key(job: tuple) -> str:
    """A key that tells jobs apart by what their arguments say, wherever the classes of these are defined."""
    return json_digest(described(job))[:32]


def described(value: Any) -> Any:
    """A job's argument in values that JSON has: numbers, strings, lists, and dataclasses by class name and fields.

    Raises TypeError for anything else, which has no description that lasts.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [described(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        said = {field.name: described(getattr(value, field.name)) for field in fields(value)}
        return {type(value).__name__: said}
    raise TypeError(f"a job with the argument {value!r} cannot be kept in a journal")


@contextlib.contextmanager
def on_cluster(address: str | None) -> Iterator[None]:
    """Within the block, `workers=None` means the workers of the dask scheduler at `address`, say tcp://host:8786.

    They need this package installed. None changes nothing. Raises MissingError without the package distributed,
    InputError where no scheduler answers.
    """
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise MissingError(f"a dask cluster needs distributed: {install_command('cluster')}") from None
    from joblib import parallel_config

    try:
        client = Client(address, timeout="5s")
    except (OSError, ValueError) as error:
        raise InputError(f"no dask scheduler answers at '{address}': {error}") from None
    with client, parallel_config("dask"):
        yield


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started here ignore Ctrl-C, which a terminal sends to all: it is the parent's to answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)
