"""Worker processes that end with the process that started them, however that ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

PATIENCE = 0.5  # seconds between looks at the parent


def ending_with_this_process() -> dict[str, Any]:
    """Arguments for joblib.Parallel: its processes, also those that have no work yet, end when this one does."""
    return {"initializer": end_with, "initargs": (os.getpid(),)}


def in_parallel(workers: int, function: Callable[..., Any], jobs: Iterable[tuple]) -> Iterator[Any]:
    """Yield function(*job) for each job, in order, as joblib's processes finish them; they end with this one."""
    import joblib

    tasks = (joblib.delayed(function)(*job) for job in jobs)
    return iter(joblib.Parallel(n_jobs=workers, return_as="generator", **ending_with_this_process())(tasks))


def end_with(parent: int) -> None:
    """Kill this process, a child of `parent`, soon after `parent` has ended."""

    def watch() -> None:
        while os.getppid() == parent:  # children of a dead process are given to another one
            time.sleep(PATIENCE)
        os.kill(os.getpid(), signal.SIGKILL)  # what it writes is whole or not there

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()
