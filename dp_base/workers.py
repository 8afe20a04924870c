"""Independent jobs: on worker processes, which end with the process that started them, or on a dask cluster."""

import contextlib
import logging
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import current_process
from typing import TYPE_CHECKING, Any, Literal

from dp_base import locks
from dp_base.errors import InputError, MissingError
from dp_base.imports import install_command
from dp_base.launcher import LAUNCHER_PREFIXES

if TYPE_CHECKING:
    from distributed import Client

# Seconds that a worker without a job waits while others finish long ones. The kernel cannot wait for more than 24 days.
IDLE_TIMEOUT = 14 * 86_400
POLL = 0.5  # seconds between checks whether the parent still runs
# Seconds that a cluster's job waits for a lock. Its holder may be dying: on NFS, the lock of a lost machine lasts for a
# lease, which is usually 90 seconds.
LOCK_TIMEOUT = 180.0

_clusters: "list[Client]" = []  # the last one is in use


@contextlib.contextmanager
def on_cluster(address: str) -> Iterator[None]:
    """Within the block, `workers=None` means the workers of the dask scheduler at `address`.

    Raises InputError if none answers, MissingError when the cluster has lost a job.
    """
    try:
        from distributed import Client, KilledWorker
        from distributed.comm import get_address_host_port
    except ImportError:
        raise MissingError(f"a dask cluster needs distributed: {install_command('cluster')}") from None
    from concurrent.futures import CancelledError

    try:
        get_address_host_port(address)  # raises if it is no address; a client would print a traceback
        client = Client(address, timeout="5s", set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # TypeError if tls:// is not set up
        raise InputError(f"no dask scheduler answers at '{address}': {error}") from None
    logger = logging.getLogger("distributed.client")
    with contextlib.ExitStack() as at_end:
        at_end.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)  # otherwise a lost scheduler prints a traceback, too
        at_end.enter_context(client)
        at_end.callback(_clusters.pop)
        _clusters.append(client)
        try:
            yield
        except KilledWorker as error:
            died = f"{error.allowed_failures + 1} workers died in one job, the last at {error.last_worker.address}"
            raise MissingError(f"{died}: their logs say why; --resume goes on from what is finished") from None
        except CancelledError:
            raise MissingError("the dask scheduler is gone; --resume goes on from what is finished") from None


def ending_with_this_process(gpus: Sequence[str] = ()) -> dict[str, Any]:
    """Arguments with which joblib.Parallel's processes, idle ones too, end with this one.

    Each process sees one of `gpus`, which are shared evenly if they are fewer.
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
) -> Iterator[Any]:
    """Yield function(*job) for each job in order, computed by `workers` processes; None: by the cluster.

    With `gpus`, each process sees one.
    """
    jobs = list(jobs)
    if not jobs:  # joblib ends an unread generator late, and the next one's processes with it
        return iter(())
    if workers is None:
        cluster = this_cluster()
        assert cluster is not None, "workers=None is for blocks of on_cluster"
        return cluster_results(cluster, function, jobs)
    import joblib

    tasks = (joblib.delayed(function)(*job) for job in jobs)
    options = ending_with_this_process(gpus) | {"batch_size": batch_size}
    with ignoring_interrupts():
        results = joblib.Parallel(n_jobs=workers, return_as="generator", **options)(tasks)
    return quiet_when_left(results)


def this_cluster() -> "Client | None":
    """The client of the `on_cluster` block around the call."""
    return _clusters[-1] if _clusters else None


def cluster_results(cluster: "Client", function: Callable[..., Any], jobs: Iterable[tuple]) -> Iterator[Any]:
    """Yield function(*job) for each job in order, from threads of the cluster's workers; earlier jobs go first."""
    futures = [
        cluster.submit(_on_cluster, function, *job, pure=False, priority=-index) for index, job in enumerate(jobs)
    ]
    try:
        for future in futures:
            yield future.result()
    finally:
        cluster.cancel(futures, force=True)


def _on_cluster(function: Callable[..., Any], *job: Any) -> Any:
    locks.default_timeout = LOCK_TIMEOUT
    _forget_launcher()
    return function(*job)


def _forget_launcher() -> None:
    """Unset the variables of a launcher, which did not start this worker."""
    for name in [name for name in os.environ if name.startswith(LAUNCHER_PREFIXES)]:
        del os.environ[name]


@contextlib.contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which a terminal sends to all processes: the parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def quiet_when_left(results: Any) -> Iterator[Any]:
    """joblib's results, without its warning if the caller stops early because of an error, which is reported anyway."""
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
    _forget_launcher()
    process_executor._USE_PSUTIL = False  # else a worker that grows by 300 MB after its first job is replaced
    if gpus:
        number = int(re.split("[-:]", current_process().name)[-1])  # they are counted as they are started
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]  # before the first job asks for CUDA


def end_with(parent: int) -> None:
    """Kill this process soon after its `parent` has ended."""

    def watch() -> None:
        while os.getppid() == parent:  # the system gives a dead process's children another parent
            time.sleep(POLL)
        os.kill(os.getpid(), signal.SIGKILL)  # this is safe, because files are written whole or not at all

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()
