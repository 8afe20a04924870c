"""A dask scheduler on this machine, with two worker processes that a test may kill."""

import contextlib

import pytest


@contextlib.contextmanager
def two_workers():
    """The address of a scheduler with two workers: processes with the resource GPU: 1, which come back when killed."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "env": {"RANK": "1"}}
    with distributed.LocalCluster(**options, silence_logs=50) as local:
        yield local.scheduler_address
