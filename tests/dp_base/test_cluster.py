"""Jobs on two workers of a dask scheduler are in order, and go to another when theirs dies."""

import contextlib
import logging
import os
import signal
import threading

import pytest

from dp_base.errors import MissingError
from dp_base.workers import in_parallel, on_cluster
from tests.dp_base import worker_jobs
from tests.refusals import refusal
from tests.waiting import until


def calls(folder):
    """The processes of the calls of `patient` so far."""
    file = folder / "calls"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_jobs_are_in_order_and_errors_their_own(scheduler, caplog):
    with on_cluster(scheduler):
        logging.getLogger("distributed.client").error("a traceback")
        results = list(in_parallel(None, worker_jobs.plain, [(i,) for i in range(3)]))
        with refusal(r"^it is wrong$"):
            list(in_parallel(None, worker_jobs.refused, [()]))
    assert [value for value, _, _ in results] == [0, 2, 4]
    assert os.getpid() not in {process for _, process, _ in results}
    assert min(timeout for _, _, timeout in results) > 90  # on NFS, the lock of a lost machine lasts as long
    assert "distributed.client" not in {record.name for record in caplog.records}


@pytest.mark.parametrize(
    ("deaths", "ending"),
    [(1, contextlib.nullcontext()), (4, refusal(r"4 workers died in one job, the last at .*--resume", MissingError))],
)
def test_a_dead_workers_job_goes_to_another_and_one_that_kills_all_is_told_of(deaths, ending, scheduler, tmp_path):
    def kill():
        for death in range(deaths):
            until(lambda death=death: len(calls(tmp_path)) > death)
            os.kill(calls(tmp_path)[death], signal.SIGKILL)
        if deaths == 1:
            until(lambda: len(calls(tmp_path)) == 2)
            (tmp_path / "go").touch()

    killing = threading.Thread(target=kill)
    killing.start()
    with ending, on_cluster(scheduler):
        assert list(in_parallel(None, worker_jobs.patient, [(str(tmp_path),)])) == [2]
    killing.join()
