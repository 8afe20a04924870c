"""Work in this process, over processes and on a cluster is one work; what is finished is not done again."""

import json
from dataclasses import make_dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dp_base.cluster.jobs import on_cluster
from dp_base.errors import MissingError
from dp_theory import Addition, InputError, KeepEasy, KeepHard, PracticeProblem, simulate, sweep
from dp_theory.budgets.sweeps import Line
from dp_theory.numerics.parallel import job_key, run_jobs

SWEEP: dict[str, Any] = {"rules": ["keep-hard"], "d": 16, "trials": 6, "n": [8, 40]}


def square(x, power):
    return np.array([[x**2.0 + 0.1, np.inf], [x / 3.0, -0.0]])[:power]


def never(x, power):
    raise AssertionError("computed again")


JOBS = [(x, 2) for x in range(5)]


@pytest.mark.parametrize("workers", [1, 2, None])
def test_run_jobs_is_a_loop_in_order(workers):
    done = []
    results = run_jobs(square, JOBS, workers, done.append)
    np.testing.assert_array_equal(results, [square(*job) for job in JOBS])
    assert sum(done) == len(JOBS)


def test_finished_jobs_are_read_back_exactly_and_not_computed_again(tmp_path):
    journal, done = tmp_path / "journal", []
    first = run_jobs(square, JOBS[:3], journal=journal)
    np.testing.assert_array_equal(run_jobs(never, JOBS[2::-1], journal=journal), first[::-1])
    with pytest.raises(AssertionError, match="again"):
        run_jobs(never, [(0, 1)], journal=journal)
    run_jobs(square, JOBS, 1, done.append, journal)
    assert done == [3, 1, 1]
    assert len(journal.read_text().splitlines()) == len(JOBS)


def test_a_line_that_a_kill_cut_short_is_computed_again(tmp_path):
    journal = tmp_path / "journal"
    run_jobs(square, JOBS, journal=journal)
    whole = journal.read_text()
    journal.write_text(whole[:-20])
    np.testing.assert_array_equal(run_jobs(square, JOBS, journal=journal), [square(*job) for job in JOBS])
    assert journal.read_text() == whole


@pytest.mark.parametrize("byte", [b"7", b"\xff", b'"'])
def test_a_damaged_line_is_computed_again(byte, tmp_path, caplog):
    journal, done = tmp_path / "journal", []
    run_jobs(square, JOBS, journal=journal)
    first, *others = journal.read_bytes().splitlines(keepends=True)
    at = first.index(b"result") + len(b'result": ')
    journal.write_bytes(first[:at] + byte + first[at + 1 :] + b"".join(others))
    np.testing.assert_array_equal(run_jobs(square, JOBS, 1, done.append, journal), [square(*job) for job in JOBS])
    assert done == [len(JOBS) - 1, 1]
    assert "damaged lines, 1" in caplog.text


@pytest.mark.parametrize("content", ["a,b\n1,2\n", '{"job": 1}\n', "[1]\n"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "journal").write_text(content)
    with pytest.raises(InputError, match="is not a journal"):
        run_jobs(square, JOBS, journal=tmp_path / "journal")


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path):
    journal, computed = tmp_path / "journal", []

    def interrupt(done: int) -> None:
        if done and len(journal.read_text().splitlines()) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(0.5, advance=interrupt, journal=journal, **SWEEP)
    resumed = sweep(0.5, advance=computed.append, journal=journal, **SWEEP)
    assert computed == [5] + [1] * 7
    pd.testing.assert_frame_equal(resumed, sweep(0.5, **SWEEP))
    assert len({json.loads(line)["job"] for line in journal.read_text().splitlines()}) == 12
    more: dict[str, Any] = SWEEP | {"trials": 8}  # what two sweeps share is computed once
    assert sweep(0.5, journal=journal, **more).equals(sweep(0.5, **more))
    assert len(journal.read_text().splitlines()) == 16


def test_keys_outlive_moves_and_tell_jobs_apart():
    """A key is made of class names and values: it may not change when a module moves, or journals would be lost."""
    line = Line("prune", "keep-hard", KeepHard(0.5), 0.5, 0.25, 0.9)
    job = ((line,), np.array([8, 40]), np.array([0.0, 0.1]), 16, "law", 0, 3)
    assert job_key(job) == "1b8aeb6333a3eef8cfc9eaa753e52bfa"
    moved = make_dataclass("KeepHard", ["alpha"], namespace={"__module__": "elsewhere"})(0.5)
    assert job_key(((replace(line, rule=moved),), *job[1:])) == job_key(job)
    others = [(*job[:-1], 4), ((replace(line, rho=0.8),), *job[1:]), ((replace(line, rule=KeepEasy(0.5)),), *job[1:])]
    assert len({job_key(other) for other in [job, *others]}) == 4


def test_what_has_no_lasting_description_is_refused():
    with pytest.raises(TypeError, match="cannot be kept in a journal"):
        job_key((lambda: None,))


def test_on_a_dask_cluster(tmp_path):
    distributed = pytest.importorskip("distributed")
    computing = PracticeProblem(0.5, 0.1, [Addition(kept=1)])
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as local, on_cluster(local.scheduler_address):
        table = sweep(0.5, workers=None, journal=tmp_path / "journal", **SWEEP)
        runs = simulate(computing, 20, 4, workers=None)
    pd.testing.assert_frame_equal(table, sweep(0.5, **SWEEP))
    assert len((tmp_path / "journal").read_text().splitlines()) == 12
    np.testing.assert_array_equal(runs.test_errors, simulate(computing, 20, 4).test_errors)


def test_an_address_without_a_scheduler_is_named():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="no dask scheduler answers at 'smoke://signal'"), on_cluster("smoke://signal"):
        pass


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingError, match=r"deliberate-practice\[cluster\]"), on_cluster("tcp://host:8786"):
        pass
