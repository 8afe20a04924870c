"""Independent jobs on the workers of a dask scheduler; a long one has a process of its own, which SIGTERM can stop."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dp_base import locks
from dp_base.errors import InputError, MissingError
from dp_base.imports import install_command
from dp_base.launcher import SEVERAL

if TYPE_CHECKING:
    from distributed import Client

POLL = 0.5  # seconds between looks at whether the parent still runs
STOP_CHECK_INTERVAL = 0.2  # seconds between looks at whether a job is still wanted
TIME_TO_STOP = 120.0  # seconds that a job has to stop by itself, as by writing a checkpoint
# Seconds that a job waits for a lock. Its holder may be dying: on NFS, the lock of a lost machine lasts for a lease,
# which is usually 90 seconds.
LOCK_PATIENCE = 180.0
CODE = "from dp_base.cluster import serve; serve()"
RETRY = "with --resume, the same command goes on from what is finished"

_clusters: "list[Client]" = []  # the last one is in use


@contextlib.contextmanager
def on_cluster(address: str) -> Iterator[None]:
    """Within the block, `workers=None` means the workers of the dask scheduler at `address`."""
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port
    except ImportError:
        raise MissingError(f"a dask cluster needs distributed: {install_command('cluster')}") from None
    try:
        get_address_host_port(address)  # raises for what is no address, which a client would print a traceback of
        client = Client(address, timeout="5s", set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # the last one if tls:// is not set up
        raise InputError(f"no dask scheduler answers at '{address}': {error}") from None
    logger = logging.getLogger("distributed.client")
    with contextlib.ExitStack() as at_end:
        at_end.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)  # else a traceback tells of a scheduler that is gone, which is one line
        at_end.enter_context(client)
        at_end.callback(_clusters.pop)
        _clusters.append(client)
        yield


def this_cluster() -> "Client | None":
    """That of the `on_cluster` block around the call."""
    return _clusters[-1] if _clusters else None


def results(
    cluster: "Client", function: Callable[..., Any], jobs: Sequence[tuple], names: Sequence[str] = ()
) -> Iterator[tuple[int, Any]]:
    """Yield (index, function(*job)) as each job ends, from threads of the workers. Earlier jobs go first.

    Dask's errors become a MissingError, which names the job.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker, as_completed

    names = names or [f"job {number} of {len(jobs)}" for number in range(1, len(jobs) + 1)]
    indices = {
        cluster.submit(function, *job, key=f"{name}-{uuid4().hex}", priority=-index): index
        for index, (job, name) in enumerate(zip(jobs, names, strict=True))
    }
    try:
        for future in as_completed(list(indices), loop=cluster.loop):
            index = indices.pop(future)
            try:
                result = future.result()
            except KilledWorker as error:
                raise MissingError(
                    f"{names[index]}: {error.allowed_failures + 1} workers died in it, the last at "
                    f"{error.last_worker.address}: their logs say why; {RETRY}"
                ) from None
            except CancelledError:
                raise MissingError(
                    f"the dask scheduler is gone, or another client ended {names[index]}; {RETRY}"
                ) from None
            yield index, result
    finally:
        cluster.cancel(list(indices), force=True)


def results_apart(
    cluster: "Client", function: Callable[..., Any], jobs: Sequence[tuple], names: Sequence[str]
) -> Iterator[Any]:
    """Yield function(*job) of a process for each job, in order.

    A job whose worker was lost waits for its old process's locks.
    """
    if not cluster.scheduler_info(n_workers=-1)["workers"]:
        logging.getLogger(__name__).warning("the cluster has no worker yet: waiting for one")
    tasks = [(function, job, name, str(Path.cwd())) for job, name in zip(jobs, names, strict=True)]
    waiting: dict[int, Any] = {}
    following = 0
    for index, (result, error) in results(cluster, _apart, tasks, names):
        if error is not None:
            raise error
        waiting[index] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1


# on a worker


def _apart(function: Callable[..., Any], job: tuple, name: str, cwd: str) -> tuple[Any, BaseException | None]:
    """Once dask no longer wants the job here, SIGTERM stops its process."""
    from distributed import Reschedule, Status, get_worker

    worker = get_worker()
    key = worker.get_current_task()
    ending = (Status.closing, Status.closing_gracefully, Status.closed, Status.failed)
    ours, theirs = Pipe()
    alone = {name: value for name, value in os.environ.items() if not name.startswith(SEVERAL)}
    environment = alone | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", CODE, str(theirs.fileno()), str(os.getpid())]
    with ours:
        with theirs:
            process = subprocess.Popen(command, cwd=cwd, env=environment, pass_fds=[theirs.fileno()])
        try:
            ours.send((function, job))
            while not ours.poll(STOP_CHECK_INTERVAL):
                task = worker.state.tasks.get(key)
                if worker.status in ending or task is None or task.state != "executing":
                    process.terminate()
                    raise Reschedule
            return ours.recv()
        except (EOFError, ConnectionError):  # the process has ended without a word
            return None, MissingError(f"{name}: its process {_cause(process.wait())}; {RETRY}")
        finally:
            try:
                process.wait(TIME_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _cause(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    hint = ", perhaps because the machine ran out of memory" if status == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-status).name}{hint}"


def serve() -> None:
    """Run the job from the pipe of argument 1, for the parent process of argument 2."""
    end_with(int(sys.argv[2]))
    locks.patience = LOCK_PATIENCE
    with Connection(int(sys.argv[1])) as caller:
        function, job = caller.recv()
        ended: tuple[Any, BaseException | None]
        try:
            ended = function(*job), None
        except BaseException as error:  # also an interruption, of which only the caller knows what it means
            ended = None, error
        try:
            caller.send(ended)
        except Exception as unsent:  # it holds something that no other process can have
            trace = "".join(traceback.format_exception(ended[1] or unsent))
            caller.send((None, RuntimeError(trace)))


def end_with(parent: int) -> None:
    """Kill this process soon after its `parent` has ended."""

    def watch() -> None:
        while os.getppid() == parent:  # the system gives children of a dead process another parent
            time.sleep(POLL)
        os.kill(os.getpid(), signal.SIGKILL)  # this is safe: what a process writes is whole or not there

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()
