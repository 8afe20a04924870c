"""Worker processes that end with the process that started them, however that ends."""

import contextlib
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import current_process
from typing import Any, Literal

from dp_base.cluster import end_with, results_apart, this_cluster
from dp_base.launcher import SEVERAL

# Seconds that a worker without a job waits while others have long ones. The kernel cannot wait for more than 24 days.
IDLE_TIMEOUT = 14 * 86_400


def ending_with_this_process(gpus: Sequence[str] = ()) -> dict[str, Any]:
    """Arguments of joblib.Parallel that end its processes, also idle ones, with this one.

    Each process sees one of `gpus`, shared evenly if there are fewer.
    """
    return {
        "initializer": _start_worker,
        "initargs": (os.getpid(), tuple(gpus)),
        "idle_worker_timeout": IDLE_TIMEOUT,
    }


def in_parallel(
    workers: int | None,
    function: Callable[..., Any],
    jobs: Iterable[tuple],
    gpus: Sequence[str] = (),
    batch_size: int | Literal["auto"] = "auto",
    name: Callable[..., str] = lambda *job: "job",
) -> Iterator[Any]:
    """Yield function(*job) for each job in order, computed by `workers` processes, or the cluster for None.

    With `gpus`, each process sees one. On the cluster a job is called name(*job).
    """
    jobs = list(jobs)
    if not jobs:  # what nobody begins to read, joblib ends late, and with it the next one's processes
        return iter(())
    if workers is None:
        cluster = this_cluster()
        assert cluster is not None, "workers=None is for blocks of on_cluster"
        return results_apart(cluster, function, jobs, [name(*job) for job in jobs])
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


def quiet_when_left(results: Any) -> Iterator[Any]:
    """joblib's results, without its warning if the caller stops early, on an error that is reported anyway."""
    try:
        for result in results:  # noqa: UP028 - `yield from` would close the generator before warnings are off
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.close()


def _start_worker(parent: int, gpus: Sequence[str]) -> None:
    from joblib.externals.loky import process_executor

    end_with(parent)
    for name in [name for name in os.environ if name.startswith(SEVERAL)]:
        del os.environ[name]  # a worker is none of the processes that a launcher started
    process_executor._USE_PSUTIL = False  # else a worker that holds 300 MB more than after its first job is replaced
    if gpus:
        number = int(re.split("[-:]", current_process().name)[-1])  # they are counted as they are started
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]  # before the first job asks for CUDA
