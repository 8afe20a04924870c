"""Jobs on two workers of a dask scheduler are in order, go to another when theirs dies, and end with their command."""

import logging
import os
import signal
import threading

import pytest

from dp_base.cluster import on_cluster
from dp_base.errors import InputError, MissingError
from dp_base.workers import in_parallel
from tests.cluster import two_workers
from tests.dp_base import worker_jobs
from tests.waiting import until


@pytest.fixture(scope="module")
def scheduler():
    """The address of a scheduler with two workers, each a process."""
    with two_workers() as workers:
        yield workers.address


def calls(folder):
    """The processes and parents of the calls of `patient` so far."""
    file = folder / "calls"
    return [[int(word) for word in line.split()] for line in file.read_text().splitlines()] if file.exists() else []


def test_jobs_are_in_order_and_errors_their_own(scheduler, caplog):
    with on_cluster(scheduler):
        logging.getLogger("distributed.client").error("a traceback")
        found = list(in_parallel(None, worker_jobs.plain, [(i,) for i in range(3)], name=lambda i: f"run {i}"))
        with pytest.raises(InputError, match=r"^it is wrong$"):
            list(in_parallel(None, worker_jobs.refused, [()]))
    assert [value for value, _, _ in found] == [0, 2, 4]
    assert len({process for _, process, _ in found} | {os.getpid()}) == 4
    assert min(patience for _, _, patience in found) > 90  # on NFS, the lock of a lost machine lasts as long
    assert "distributed.client" not in {record.name for record in caplog.records}


@pytest.mark.parametrize("victim", ["process", "worker"])
def test_a_dead_workers_job_goes_to_another_and_a_dead_process_is_told_of(victim, scheduler, tmp_path):
    def kill_once():
        until(lambda: calls(tmp_path))
        process, worker = calls(tmp_path)[0]
        os.kill(process if victim == "process" else worker, signal.SIGKILL)
        if victim == "worker":
            until(lambda: len(calls(tmp_path)) == 2)
        (tmp_path / "go").touch()

    killing = threading.Thread(target=kill_once)
    killing.start()
    with on_cluster(scheduler):
        jobs = in_parallel(None, worker_jobs.patient, [(str(tmp_path),)], name=lambda folder: "run")
        if victim == "worker":
            assert list(jobs) == [2]
        else:
            with pytest.raises(MissingError, match=r"run: its process was ended by SIGKILL.*memory; with --resume"):
                list(jobs)
    killing.join()


def test_jobs_end_with_their_command_and_may_write_a_checkpoint(scheduler, tmp_path):
    begun = tmp_path / "begun"
    with pytest.raises(ZeroDivisionError), on_cluster(scheduler):
        list(in_parallel(None, worker_jobs.either, [(str(tmp_path), False), (str(tmp_path), True)]))
    assert begun.exists()
    until((tmp_path / "checkpoint").exists)
