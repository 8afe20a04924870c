"""Jobs in a process of their own, which ends with the process that started it.

A job that takes hours has the main thread of its process, so that SIGTERM can ask it to stop. It shares neither random
state nor Python's interpreter lock with the process that answers for it, and takes nothing with it when it dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any

from dp_base import locks

PARENT_CHECK_INTERVAL = 0.5  # seconds between looks at whether the parent still runs
STOP_CHECK_INTERVAL = 0.2  # seconds between looks at whether a job is still wanted
TIME_TO_STOP = 120.0  # seconds that a job has to stop by itself, as by writing a checkpoint
# Seconds that a job waits for a lock. Its holder may be dying: on NFS, the lock of a lost machine lasts for a lease,
# which is usually 90 seconds.
LOCK_PATIENCE = 180.0
CODE = "from dp_base.cluster.apart import serve; serve()"


@dataclass(frozen=True)
class Ending:
    """How a job ended: with a result, with an error of its own, or lost, so that it can be given to another process."""

    result: Any = None
    error: BaseException | None = None
    lost: str = ""  # why there is neither result nor error
    stopped: bool = False  # it was lost because it was told to stop, and not by a fault


def end_with(parent: int) -> None:
    """Kill this process soon after `parent`, which started it, has ended."""

    def watch() -> None:
        while os.getppid() == parent:  # the system gives children of a dead process another parent
            time.sleep(PARENT_CHECK_INTERVAL)
        os.kill(os.getpid(), signal.SIGKILL)  # this is safe: what a process writes is whole or not there

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()


def run_apart(function: Callable[..., Any], job: tuple, cwd: str, unwanted: Callable[[], bool]) -> Ending:
    """Compute function(*job) in a process of its own, which imports what this one could and works in the folder `cwd`.

    Once `unwanted()` holds, SIGTERM tells it to stop, and the job is lost. Raises OSError if it cannot be started.
    """
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
                    return Ending(lost="its worker was told to stop", stopped=True)
            return ours.recv()
        except (EOFError, ConnectionError):  # the process has ended without a word
            return Ending(lost=_cause(process.wait()))
        finally:
            _wait(process)


def _wait(process: subprocess.Popen) -> None:
    """Wait for a process that has ended or is about to, and kill it if it does not."""
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
    """Run the job that comes through the pipe whose number is the first argument. The second is the parent process."""
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
