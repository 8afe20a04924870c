"""Jobs for workers, of a cluster or not, which a test can follow and end through the files of a folder."""

import os
import signal
import time
from pathlib import Path

from dp_base import locks
from dp_base.errors import InputError
from dp_base.locks import locked


def slowly(out):
    """Leave a file that is called by the process's number in the folder `out`, and sleep for a minute."""
    (Path(out) / str(os.getpid())).touch()
    time.sleep(60)


def seen(wait):
    """This process and its GPU, after a while in which others get their jobs."""
    time.sleep(wait)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


def interrupted_at_once():
    return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def plain(value):
    assert "RANK" not in os.environ  # which srun or torchrun gave the worker
    return 2 * value, os.getpid(), locks.patience


def refused():
    raise InputError("it is wrong")


def patient(folder):
    """Note this process and its parent, hold the lock of the folder, and wait for the file `go`. Return the calls."""
    out = Path(folder)
    with (out / "calls").open("a") as file:
        file.write(f"{os.getpid()} {os.getppid()}\n")
    with locked(out / "locked"):
        while not (out / "go").exists():
            time.sleep(0.05)
    return len((out / "calls").read_text().splitlines())


def stoppable(folder):
    """Write a file when told to stop, as a run writes a checkpoint."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    (Path(folder) / "begun").touch()
    while not stopped:
        time.sleep(0.05)
    (Path(folder) / "checkpoint").touch()
    raise KeyboardInterrupt


def either(folder, fails):
    """Run until told to stop, or fail once that has begun."""
    if not fails:
        stoppable(folder)
    while not (Path(folder) / "begun").exists():
        time.sleep(0.05)
    raise ZeroDivisionError
