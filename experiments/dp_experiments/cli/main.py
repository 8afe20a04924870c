"""The entry of `dp`, ready for Ctrl-C and closed streams before anything large is imported."""

import atexit
import contextlib
import os
import signal
import sys

from dp_base.errors import STOP_SIGNALS
from dp_experiments.cli.process import INTERRUPTED, open_streams, skip_last_collection, stop, uncollected


def main() -> None:
    """Status: 0 done, 2 wrong input, 3 something is missing, 130 interrupted, 1 anything else."""
    open_streams()
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # processes started here import nothing from the current folder
    os.environ["MPLBACKEND"] = "agg"  # pictures go into files; a notebook exports its own backend to its commands
    with contextlib.suppress(ValueError):  # not the main thread, whose caller handles signals
        for number in STOP_SIGNALS:
            signal.signal(number, stop)  # so that worker processes are ended, and their files removed
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # runs last, and Python's own end is short
    atexit.register(skip_last_collection)
    try:
        with uncollected():
            from dp_experiments.cli.commands import run

        status = run()
    except KeyboardInterrupt:  # before `run` can catch it
        print("interrupted", file=sys.stderr)
        status = INTERRUPTED
    # All that is left to do is to wait for threads. Ctrl-C cuts that short.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(status))
    sys.exit(status)
