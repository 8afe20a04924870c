"""Work in this process, over processes and on a cluster is one work."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dp_base.cluster import on_cluster
from dp_base.errors import MissingError
from dp_theory import Addition, InputError, PracticeProblem, simulate, sweep
from dp_theory.numerics.parallel import run_jobs

SWEEP: dict[str, Any] = {"rules": ["keep-hard"], "d": 16, "trials": 6, "n": [8, 40]}


def square(x, power):
    return np.array([[x**2.0 + 0.1, np.inf], [x / 3.0, -0.0]])[:power]


JOBS = [(x, 2) for x in range(5)]


@pytest.mark.parametrize("workers", [1, 2, None])
def test_run_jobs_is_a_loop_in_order(workers):
    done = []
    results = run_jobs(square, JOBS, workers, done.append)
    np.testing.assert_array_equal(results, [square(*job) for job in JOBS])
    assert sum(done) == len(JOBS)


def test_on_a_dask_cluster():
    distributed = pytest.importorskip("distributed")
    computing = PracticeProblem(0.5, 0.1, [Addition(kept=1)])
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as local, on_cluster(local.scheduler_address):
        table = sweep(0.5, workers=None, **SWEEP)
        runs = simulate(computing, 20, 4, workers=None)
    pd.testing.assert_frame_equal(table, sweep(0.5, **SWEEP))
    np.testing.assert_array_equal(runs.test_errors, simulate(computing, 20, 4).test_errors)


def test_an_address_without_a_scheduler_is_named():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="no dask scheduler answers at 'smoke://signal'"), on_cluster("smoke://signal"):
        pass


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingError, match=r"deliberate-practice\[cluster\]"), on_cluster("tcp://host:8786"):
        pass
