"""Independent jobs on the workers of a dask scheduler; a long one has a process of its own, which SIGTERM can stop."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dp_base import locks
from dp_base.errors import InputError, MissingError
from dp_base.files import LOCK
from dp_base.imports import install_command

if TYPE_CHECKING:
    from distributed import Client

LOSSES = 3  # how often the process of a job may die before that is an error
SEEN_WITHIN = 20.0  # seconds in which another machine must see what this one wrote; NFS keeps old answers for a while
POLL = 0.5  # seconds between looks at a file, or at whether the parent still runs
STOP_CHECK_INTERVAL = 0.2  # seconds between looks at whether a job is still wanted
TIME_TO_STOP = 120.0  # seconds that a job has to stop by itself, as by writing a checkpoint
# Seconds that a job waits for a lock. Its holder may be dying: on NFS, the lock of a lost machine lasts for a lease,
# which is usually 90 seconds.
LOCK_PATIENCE = 180.0
CODE = "from dp_base.cluster import serve; serve()"
RETRY = "with --resume, the same command goes on from what is finished"

_clusters: list[Cluster] = []  # the last one is in use


class LostJobError(RuntimeError):
    """A job's process ended without a result or an error of its own."""


@dataclass(frozen=True)
class Ending:
    """A job's result, or its own error."""

    result: Any = None
    error: BaseException | None = None


@contextlib.contextmanager
def on_cluster(
    address: str | None,
    folder: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[None]:
    """Within the block, `workers=None` means the workers of the dask scheduler at `address`; None changes nothing.

    folder: shared by all machines and locked by this process. tell: called with a line when a named job begins, ends or
    is lost.
    """
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise MissingError(f"a dask cluster needs distributed: {install_command('cluster')}") from None
    try:
        client = Client(address, timeout="5s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"no dask scheduler answers at '{address}': {error}") from None
    with _only_our_line(), client:
        _clusters.append(Cluster(client, folder, tell))
        try:
            yield
        finally:
            _clusters.pop()


@contextlib.contextmanager
def _only_our_line() -> Iterator[None]:
    """Keep dask's client from a traceback of a scheduler that is gone, which is told in one line."""
    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def this_cluster() -> Cluster | None:
    """The cluster of the `on_cluster` block around the call."""
    return _clusters[-1] if _clusters else None


@dataclass(frozen=True)
class Place:
    """The folder that command and worker share, and where to tell of it."""

    cwd: str
    lock: str  # the lock file of the folder; empty: nothing need be shared
    owner: str  # what that file says
    topic: str
    patience: float  # seconds until it must see that

    def check(self) -> None:
        """Raise InputError unless this machine sees the folders as the other one does."""
        deadline = time.monotonic() + self.patience
        while not self._seen():
            if time.monotonic() > deadline:
                raise InputError(
                    f"the worker on {socket.gethostname()} does not see {Path(self.lock).parent} or {self.cwd} as this "
                    "machine does: with --dask, the folder that you work in and --out must be on a shared file system"
                )
            time.sleep(POLL)

    def _seen(self) -> bool:
        if not self.lock:
            return Path(self.cwd).is_dir()
        with contextlib.suppress(OSError):
            return Path(self.cwd).is_dir() and Path(self.lock).read_text(encoding="utf-8") == self.owner
        return False


class Cluster:
    """Sends jobs to the workers of a dask scheduler."""

    def __init__(self, client: Client, folder: Path | None, tell: Callable[[str], None]) -> None:
        self._client = client
        self._folder = folder
        self._tell = tell

    def results(self, function: Callable[..., Any], jobs: Sequence[tuple]) -> Iterator[tuple[int, Any]]:
        """Yield (index, function(*job)) as each job ends, from threads of the workers."""
        names = [f"job {number} of {len(jobs)}" for number in range(1, len(jobs) + 1)]
        return self._ended(function, jobs, names)

    def results_apart(
        self, function: Callable[..., Any], jobs: Sequence[tuple], names: Sequence[str]
    ) -> Iterator[tuple[int, Any]]:
        """The same in a process for each job. A job that was lost waits for the locks of its old process."""
        lock = self._folder.resolve() / LOCK if self._folder is not None else None
        owner = lock.read_text(encoding="utf-8") if lock is not None and lock.exists() else ""
        place = Place(str(Path.cwd()), str(lock) if owner else "", owner, f"dp-{uuid4().hex}", SEEN_WITHIN)
        self._client.subscribe_topic(place.topic, lambda event: self._tell(event[1]))
        if not self._client.scheduler_info(n_workers=-1)["workers"]:
            self._tell("the cluster has no worker yet: waiting for one")
        began = time.monotonic()
        done = 0
        tasks = [(function, job, name, place) for job, name in zip(jobs, names, strict=True)]
        try:
            for index, ended in self._ended(_apart, tasks, names, retries=LOSSES):
                if ended.error is not None:
                    raise ended.error
                done += 1
                self._tell(_told_of_end(names[index], done, len(jobs), time.monotonic() - began))
                yield index, ended.result
        finally:
            self._client.unsubscribe_topic(place.topic)

    def _ended(
        self, function: Callable[..., Any], jobs: Sequence[tuple], names: Sequence[str], retries: int = 0
    ) -> Iterator[tuple[int, Any]]:
        """Earlier jobs go first."""
        from distributed import as_completed

        indices: dict[Any, int] = {}
        for index, (job, name) in enumerate(zip(jobs, names, strict=True)):
            options = {"key": f"{name}-{uuid4().hex}", "priority": -index, "retries": retries}
            indices[self._client.submit(function, *job, **options)] = index
        try:
            for future in as_completed(list(indices), loop=self._client.loop):
                index = indices.pop(future)
                with self._naming(names[index]):
                    result = future.result()
                yield index, result
        finally:
            self._client.cancel(list(indices), force=True)

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Raise MissingError, which names the job, in place of dask's errors."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        try:
            yield
        except LostJobError as error:
            raise MissingError(f"{name} was lost {LOSSES + 1} times: {error}; {RETRY}") from None
        except KilledWorker as error:
            raise MissingError(
                f"{name}: {error.allowed_failures + 1} workers died in it, the last at {error.last_worker.address}: "
                f"their logs say why; {RETRY}"
            ) from None
        except CancelledError:
            raise MissingError(f"the dask scheduler is gone, or another client ended {name}; {RETRY}") from None


def _told_of_end(name: str, done: int, total: int, seconds: float) -> str:
    left = f", about {_clock(seconds / done * (total - done))} left" if done < total else ""
    return f"{name}: ended; {done} of {total}{left}"


def _clock(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


# on a worker


def _apart(function: Callable[..., Any], job: tuple, name: str, place: Place) -> Ending:
    """Run a long job on a worker until dask no longer wants it there."""
    from distributed import Reschedule, Status, get_worker

    worker = get_worker()
    key = worker.get_current_task()
    ending = (Status.closing, Status.closing_gracefully, Status.closed, Status.failed)

    def unwanted() -> bool:
        task = worker.state.tasks.get(key)
        return worker.status in ending or task is None or task.state != "executing"

    try:
        place.check()
    except InputError as error:
        return Ending(error=error)
    worker.log_event(place.topic, f"{name}: on {socket.gethostname()}, worker {worker.name}")
    try:
        ended = run_apart(function, job, place.cwd, unwanted)
    except LostJobError as error:
        worker.log_event(place.topic, f"{name}: {error}; it goes to another")
        raise
    if ended is None:
        raise Reschedule
    return ended


def run_apart(function: Callable[..., Any], job: tuple, cwd: str, unwanted: Callable[[], bool]) -> Ending | None:
    """Compute function(*job) in a process of its own; once `unwanted()` holds, SIGTERM stops it: None."""
    ours, theirs = Pipe()
    path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", CODE, str(theirs.fileno()), str(os.getpid())]
    with ours:
        with theirs:
            process = subprocess.Popen(command, cwd=cwd, env=environment, pass_fds=[theirs.fileno()])
        try:
            ours.send((function, job))
            while not ours.poll(STOP_CHECK_INTERVAL):
                if unwanted():
                    process.terminate()
                    return None
            return ours.recv()
        except (EOFError, ConnectionError):  # the process has ended without a word
            raise LostJobError(_cause(process.wait())) from None
        finally:
            _wait(process)


def _wait(process: subprocess.Popen) -> None:
    try:
        process.wait(TIME_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cause(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status}"
    hint = ", perhaps because the machine ran out of memory" if status == -signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-status).name}{hint}"


def serve() -> None:
    """Run the job that comes through the pipe of argument 1, for the parent process of argument 2."""
    end_with(int(sys.argv[2]))
    locks.patience = LOCK_PATIENCE
    with Connection(int(sys.argv[1])) as caller:
        function, job = caller.recv()
        try:
            ending = Ending(function(*job))
        except BaseException as error:  # also an interruption, of which only the caller knows what it means
            ending = Ending(error=error)
        try:
            caller.send(ending)
        except Exception as unsent:  # it holds something that no other process can have
            told = "".join(traceback.format_exception(ending.error or unsent))
            caller.send(Ending(error=RuntimeError(told)))


def end_with(parent: int) -> None:
    """Kill this process soon after its `parent` has ended."""

    def watch() -> None:
        while os.getppid() == parent:  # the system gives children of a dead process another parent
            time.sleep(POLL)
        os.kill(os.getpid(), signal.SIGKILL)  # this is safe: what a process writes is whole or not there

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()
