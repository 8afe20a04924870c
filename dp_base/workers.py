"""Worker processes that end with the process that started them, however that ends."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from filelock import FileLock  # imported on first use, since sweeps start with this module

PATIENCE = 0.5  # seconds between looks at the parent
IDLE = 14 * 86_400  # seconds that a worker waits for a job while others have long ones; the kernel counts to 24 days

_held: list[FileLock] = []  # as long as this process lives


def ending_with_this_process() -> dict[str, Any]:
    """Arguments for joblib.Parallel: its processes, also those that have no work yet, end when this one does."""
    return {"initializer": _begin, "initargs": (os.getpid(),), "idle_worker_timeout": IDLE}


def in_parallel(
    workers: int,
    function: Callable[..., Any],
    jobs: Iterable[tuple],
    gpus: Sequence[str] = (),
    batch_size: int | Literal["auto"] = "auto",
) -> Iterator[Any]:
    """Yield function(*job) for each job, in order, as joblib's processes finish them; they end with this one.

    gpus: see on_gpus_of_their_own. batch_size: jobs that are sent to a process together.
    """
    import joblib

    tasks = (joblib.delayed(function)(*job) for job in jobs)
    begin = on_gpus_of_their_own(gpus) if gpus else ending_with_this_process()
    options: dict[str, Any] = begin | {"batch_size": batch_size}  # joblib declares text only
    return quiet_when_left(joblib.Parallel(n_jobs=workers, return_as="generator", **options)(tasks))


def quiet_when_left(results: Any) -> Iterator[Any]:
    """Yield from a generator of joblib (which declares lists, too), without its advice to those who leave it early.

    An interrupt or an error of the caller leaves it early, and says so itself.
    """
    try:
        for result in results:  # noqa: UP028 - `yield from` would close them before the warnings are off
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.close()


def on_gpus_of_their_own(gpus: Sequence[str]) -> dict[str, Any]:
    """The same, and each process sees one of the GPUs only; with more processes than GPUs they are dealt out evenly.

    gpus: as CUDA_VISIBLE_DEVICES names them.
    """
    return ending_with_this_process() | {"initargs": (os.getpid(), _desk().name, tuple(gpus))}


@cache
def _desk() -> tempfile.TemporaryDirectory[str]:
    """The folder in which the workers of this process take their numbers."""
    return tempfile.TemporaryDirectory(prefix="dp-workers-")


def _begin(parent: int, desk: str = "", gpus: Sequence[str] = ()) -> None:
    """What a worker does first."""
    from joblib.externals.loky import process_executor

    end_with(parent)
    process_executor._USE_PSUTIL = False  # else one that holds 300 MB more than after its first job is replaced
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[take_number(Path(desk)) % len(gpus)]  # before CUDA is asked


def take_number(desk: Path) -> int:
    """The lowest number that no living process has taken at this folder. It is this process's until it ends."""
    from filelock import FileLock, Timeout

    for number in itertools.count():
        lock = FileLock(desk / f"{number}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        _held.append(lock)
        return number
    raise AssertionError("there is always a next number")


def end_with(parent: int) -> None:
    """Kill this process, a child of `parent`, soon after `parent` has ended."""

    def watch() -> None:
        while os.getppid() == parent:  # children of a dead process are given to another one
            time.sleep(PATIENCE)
        os.kill(os.getpid(), signal.SIGKILL)  # what it writes is whole or not there

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()
