"""Independent jobs: in this process, over processes, or on a cluster, with a journal of those that are finished.

joblib runs the jobs, so that any of its backends will do. With `workers=None`, the functions of this package use the
cluster of a block `on_cluster` (dp_base.cluster), or else the backend that the caller configured:
`with joblib.parallel_config("ray"): dp_theory.sweep(..., workers=None)`. What a job draws depends on the job alone,
never on where or when it runs.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dp_base.checksums import json_digest
from dp_base.cluster.jobs import this_cluster
from dp_base.errors import InputError
from dp_base.workers import ending_with_this_process, ignoring_interrupts, quiet_when_left
from dp_theory.numerics.checks import require_workers
from dp_theory.numerics.overflow import finite_numbers

log = logging.getLogger(__name__)


def run_jobs(
    function: Callable,
    jobs: Sequence[tuple],
    workers: int | None = 1,
    advance: Callable[[int], None] = lambda done: None,
    journal: Path | None = None,
) -> list:
    """[function(*job) for job in jobs].

    `workers` is the number of processes, which end with this one. 1 runs the jobs here. None leaves the choice to the
    block `on_cluster`, or to joblib's configuration. `advance(count)` is called with the number of jobs that were
    finished before, and with 1 as each further job ends.

    `journal` is a file that remembers results, which must then be arrays. A job whose result it has is not computed
    again.

    Raises InputError for a number of workers that joblib does not know, and what the jobs and `Journal` raise.
    """
    require_workers(workers)
    memory = None if journal is None else Journal(journal, jobs)
    results = {} if memory is None else memory.finished
    advance(len(results))
    missing = [i for i in range(len(jobs)) if i not in results]
    for i, result in _started(function, jobs, missing, workers):
        results[i] = result
        if memory is not None:
            memory.write(i, result)
        advance(1)
    return [results[i] for i in range(len(jobs))]


def _started(
    function: Callable, jobs: Sequence[tuple], missing: Sequence[int], workers: int | None
) -> Iterator[tuple[int, Any]]:
    """Start the missing jobs. The iterator has (index, result) of each as it ends."""
    if workers == 1:
        return (_numbered(i, function, jobs[i]) for i in missing)
    cluster = this_cluster()
    if workers is None and cluster is not None:
        return (result for _, result in cluster.results(_numbered, [(i, function, jobs[i]) for i in missing]))
    from joblib import Parallel, delayed

    with ignoring_interrupts():
        options = {} if workers is None else ending_with_this_process()  # None: perhaps a cluster, which stays
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered", **options)
        return quiet_when_left(parallel(delayed(_numbered)(i, function, jobs[i]) for i in missing))


def _numbered(index: int, function: Callable, job: tuple) -> tuple[int, Any]:
    with finite_numbers():  # the state of NumPy does not reach other processes
        return index, function(*job)


class Journal:
    """Results by job, in a file of JSON lines {"job": key of its arguments, "result": nested lists, "sum": checksum}.

    `finished` holds the results that the file has for `jobs`, by their index. Floats are read back exactly as they were
    written. A line whose checksum is wrong is damaged: a warning says so, and its job is computed again. A last line
    that a kill cut short is dropped.

    Raises InputError for a file of another kind, and TypeError for an argument that `described` refuses.
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
    """The record in a line of a journal, or None if the line is damaged."""
    try:
        record = json.loads(line)
        stated = record.pop("sum")
        right = stated == _checksum(record) and isinstance(record["job"], str) and "result" in record
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if right else None


def _checksum(record: dict[str, Any]) -> str:
    return json_digest(record)[:16]


def job_key(job: tuple) -> str:
    """A key of the job's arguments. It stays the same where a class moves to another module."""
    return json_digest(described(job))[:32]


def described(value: Any) -> Any:
    """A job's argument in JSON's values: numbers, strings, lists, and dataclasses by class name and fields.

    Raises TypeError for anything else, which has no description that lasts.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [described(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        by_name = {field.name: described(getattr(value, field.name)) for field in fields(value)}
        return {type(value).__name__: by_name}
    raise TypeError(f"a job with the argument {value!r} cannot be kept in a journal")
