"""Worker processes that end with the process that started them, however that ends."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dp_base.cluster import end_with, this_cluster

if TYPE_CHECKING:
    from filelock import FileLock  # imported on first use, since sweeps start with this module

# Seconds that a worker without a job waits while others have long ones. The kernel cannot wait for more than 24 days.
IDLE_TIMEOUT = 14 * 86_400

_held_locks: list[FileLock] = []  # keeps this process's locks until it ends


def ending_with_this_process(gpus: Sequence[str] = ()) -> dict[str, Any]:
    """Arguments for joblib.Parallel by which its processes, also idle ones, end with this one.

    Each process sees one of `gpus`, shared evenly if there are fewer.
    """
    start = (os.getpid(), _numbers_folder().name if gpus else "", tuple(gpus))
    return {"initializer": _start_worker, "initargs": start, "idle_worker_timeout": IDLE_TIMEOUT}


def in_parallel(
    workers: int | None,
    function: Callable[..., Any],
    jobs: Iterable[tuple],
    gpus: Sequence[str] = (),
    batch_size: int | Literal["auto"] = "auto",
    name: Callable[..., str] = lambda *job: "job",
) -> Iterator[Any]:
    """Yield function(*job) for each job in order, computed by `workers` processes, or the cluster for None.

    With `gpus`, each process sees one. The cluster's user is told of a job as name(*job).
    """
    if workers is None:
        return _on_this_cluster(function, list(jobs), name)
    import joblib

    tasks = (joblib.delayed(function)(*job) for job in jobs)
    options = ending_with_this_process(gpus) | {"batch_size": batch_size}
    with ignoring_interrupts():
        results = joblib.Parallel(n_jobs=workers, return_as="generator", **options)(tasks)
    return quiet_when_left(results)


@contextlib.contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which a terminal sends to all: the parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _on_this_cluster(function: Callable[..., Any], jobs: Sequence[tuple], name: Callable[..., str]) -> Iterator[Any]:
    cluster = this_cluster()
    assert cluster is not None, "workers=None is for blocks of on_cluster"
    waiting: dict[int, Any] = {}
    following = 0
    for index, result in cluster.results_apart(function, jobs, [name(*job) for job in jobs]):
        waiting[index] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def quiet_when_left(results: Any) -> Iterator[Any]:
    """joblib's results, without its warning if the caller stops early, on an error that is reported anyway."""
    try:
        for result in results:  # noqa: UP028 - `yield from` would close the generator before warnings are off
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.close()


@cache
def _numbers_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="dp-workers-")


def _start_worker(parent: int, numbers_folder: str = "", gpus: Sequence[str] = ()) -> None:
    from joblib.externals.loky import process_executor

    end_with(parent)
    process_executor._USE_PSUTIL = False  # else a worker that holds 300 MB more than after its first job is replaced
    if gpus:
        number = take_number(Path(numbers_folder))
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]  # before the first job asks for CUDA


def take_number(folder: Path) -> int:
    """Take the lowest number in this folder that no living process has."""
    from filelock import FileLock, Timeout

    number = 0
    while True:
        lock = FileLock(folder / f"{number}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            number += 1
        else:
            _held_locks.append(lock)
            return number
