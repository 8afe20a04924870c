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
    return 2 * value, os.getpid(), locks.default_timeout


def refused():
    raise InputError("it is wrong")


def patient(folder):
    """Note this process, hold the lock of the folder, and wait for the file `go`. Return the calls."""
    out = Path(folder)
    with (out / "calls").open("a") as file:
        file.write(f"{os.getpid()}\n")
    with locked(out / "locked"):
        while not (out / "go").exists():
            time.sleep(0.05)
    return len((out / "calls").read_text().splitlines())
