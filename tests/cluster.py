"""A dask scheduler on this machine, with two worker processes that a test may kill."""

import contextlib
import os
import signal

import pytest


class TwoWorkers:
    """A scheduler and its workers 0 and 1, which come back when they are killed."""

    def __init__(self, local):
        self._local = local

    @property
    def address(self):
        """The address of the scheduler."""
        return self._local.scheduler_address

    def kill(self, name):
        """Kill the process of a worker."""
        os.kill(self._local.workers[name].pid, signal.SIGKILL)


@contextlib.contextmanager
def two_workers():
    """Start a scheduler and two workers, each a process with the resource GPU: 1."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "env": {"RANK": "1"}}
    with distributed.LocalCluster(**options, silence_logs=50) as local:
        yield TwoWorkers(local)
