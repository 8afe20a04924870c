"""Jobs in a process of their own, which ends with the process that started it.

A job that takes hours has the main thread of its process, so that SIGTERM can ask it to stop. It shares neither random
state nor Python's interpreter lock with the process that answers for it, and takes nothing with it when it dies.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_base import locks

PARENT_CHECK_INTERVAL = 0.5  # seconds between looks at whether the parent still runs
STOP_CHECK_INTERVAL = 0.2  # seconds between looks at whether a job is still wanted
TIME_TO_STOP = 120.0  # seconds that a job has to stop by itself, as by writing a checkpoint
# Seconds that a job waits for a lock. Its holder may be dying: on NFS, the lock of a lost machine lasts for a lease,
# which is usually 90 seconds.
LOCK_PATIENCE = 180.0
CODE = "from dp_base.cluster.apart import serve; serve()"
JOB = "job"  # file names in the folder through which the two processes speak
ENDING = "ending"


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

    Once `unwanted()` holds, the process is told to stop by SIGTERM, and the job is lost. Raises OSError if the process
    cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="dp-job-") as folder:
        (Path(folder) / JOB).write_bytes(pickle.dumps((function, job)))
        path = os.pathsep.join(filter(None, sys.path))
        environment = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        command = [sys.executable, "-c", CODE, folder, str(os.getpid())]
        process = subprocess.Popen(command, cwd=cwd, env=environment)
        while process.poll() is None:
            if unwanted():
                _stop(process)
                return Ending(lost="its worker was told to stop", stopped=True)
            time.sleep(STOP_CHECK_INTERVAL)
        ending = Path(folder) / ENDING
        if not ending.exists():
            return Ending(lost=_cause(process.returncode))
        return pickle.loads(ending.read_bytes())


def _stop(process: subprocess.Popen) -> None:
    """Ask a process to stop, and kill it if it does not."""
    process.terminate()
    try:
        process.wait(TIME_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cause(status: int) -> str:
    """Say how a process ended that left no ending."""
    if status >= 0:
        return f"its process ended with status {status}"
    hint = ", perhaps because the machine ran out of memory" if status == -signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-status).name}{hint}"


def serve() -> None:
    """Run the job in the folder that the first argument names. The second is the process that started this one."""
    folder = Path(sys.argv[1])
    end_with(int(sys.argv[2]))
    locks.patience = LOCK_PATIENCE
    function, job = pickle.loads((folder / JOB).read_bytes())
    try:
        ending = Ending(function(*job))
    except BaseException as error:  # also an interruption, of which only the caller knows what it means
        ending = Ending(error=error)
    partial = folder / f"{ENDING}.part"
    partial.write_bytes(_pickled(ending))
    partial.rename(folder / ENDING)


def _pickled(ending: Ending) -> bytes:
    """Return the ending as bytes. An error that cannot be sent is replaced by its traceback."""
    try:
        content = pickle.dumps(ending)
        pickle.loads(content)  # an error whose arguments are not its message's fails only here
    except Exception:
        if ending.error is None:
            raise
        told = "".join(traceback.format_exception(ending.error))
        return pickle.dumps(Ending(error=RuntimeError(told)))
    return content
