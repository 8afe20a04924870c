"""Jobs on two workers of a dask scheduler are in order, go to another when theirs dies, and end with their command."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dp_base.cluster import LOSSES, on_cluster
from dp_base.errors import InputError, MissingError
from dp_base.locks import locked
from dp_base.workers import in_parallel
from tests.cluster import two_workers
from tests.dp_base import cluster_jobs


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a scheduler with two workers, each a process."""
    with two_workers() as workers:
        yield workers.address


def until(condition: Callable[[], Any]) -> None:
    """Return as soon as a condition holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def calls(folder: Path) -> list[list[int]]:
    """The processes and parents of the calls of `patient` so far."""
    file = folder / "calls"
    return [[int(word) for word in line.split()] for line in file.read_text().splitlines()] if file.exists() else []


def test_jobs_are_in_order_and_told_of(scheduler: str, tmp_path: Path):
    told: list[str] = []
    with locked(tmp_path), on_cluster(scheduler, tmp_path, told.append):
        found = list(in_parallel(None, cluster_jobs.plain, [(i,) for i in range(3)], name=lambda i: f"run {i}"))
    assert [value for value, _, _ in found] == [0, 2, 4]
    assert len({process for _, process, _ in found} | {os.getpid()}) == 4
    assert min(patience for _, _, patience in found) > 90  # on NFS, the lock of a lost machine lasts as long
    assert {f"run {i}: on {socket.gethostname()}" for i in range(3)} <= {line.partition(",")[0] for line in told}
    assert sum(": ended; " in line and " left" in line for line in told) == 2
    assert any(line.endswith(": ended; 3 of 3") for line in told)


def test_dasks_client_says_nothing_of_its_own(scheduler: str, caplog: pytest.LogCaptureFixture):
    """Of a scheduler that is gone it would print a traceback, before the one line in which the command says it."""
    client = logging.getLogger("distributed.client")
    with on_cluster(scheduler):
        client.error("a traceback")
    assert "distributed.client" not in {record.name for record in caplog.records}
    assert client.level < logging.CRITICAL


@pytest.mark.parametrize("victim", ["process", "worker"])
def test_what_dies_gives_its_job_to_another(victim: str, scheduler: str, tmp_path: Path):
    told: list[str] = []

    def kill_once() -> None:
        until(lambda: calls(tmp_path))
        process, worker = calls(tmp_path)[0]
        os.kill(process if victim == "process" else worker, signal.SIGKILL)
        until(lambda: len(calls(tmp_path)) == 2)
        (tmp_path / "go").touch()

    killing = threading.Thread(target=kill_once)
    killing.start()
    with on_cluster(scheduler, tell=told.append):
        assert list(in_parallel(None, cluster_jobs.patient, [(str(tmp_path),)], name=lambda folder: "run")) == [2]
    killing.join()
    assert (victim == "process") == any("was ended by SIGKILL" in line for line in told)


def test_a_job_that_dies_again_and_again_is_told_of(scheduler: str, tmp_path: Path):
    def kill_each(line: str) -> None:
        if ": on " in line:
            seen = len(killed)
            until(lambda: len(calls(tmp_path)) > seen)
            killed.append(calls(tmp_path)[-1][0])
            os.kill(killed[-1], signal.SIGKILL)

    killed: list[int] = []
    with (
        pytest.raises(MissingError, match=rf"run was lost {LOSSES + 1} times: .*memory; with --resume"),
        on_cluster(scheduler, tell=kill_each),
    ):
        list(in_parallel(None, cluster_jobs.patient, [(str(tmp_path),)], name=lambda folder: "run"))
    assert len(killed) == LOSSES + 1


def test_jobs_end_with_their_command_and_may_write_a_checkpoint(scheduler: str, tmp_path: Path):
    begun = tmp_path / "begun"
    with pytest.raises(ZeroDivisionError), on_cluster(scheduler):
        list(in_parallel(None, cluster_jobs.either, [(str(tmp_path), False), (str(tmp_path), True)]))
    assert begun.exists()
    until((tmp_path / "checkpoint").exists)


def test_an_error_is_the_jobs_own(scheduler: str):
    with on_cluster(scheduler), pytest.raises(InputError, match=r"^it is wrong$"):
        list(in_parallel(None, cluster_jobs.refused, [()]))


def test_a_folder_that_is_not_shared_is_named(scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The worker sees another lock file than the one that this process has read."""
    monkeypatch.setattr("dp_base.cluster.SEEN_WITHIN", 0.0)
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **options: read(path, **options) + " of another machine")
    with (
        locked(tmp_path),
        on_cluster(scheduler, folder=tmp_path),
        pytest.raises(InputError, match=f"on {socket.gethostname()} does not see {tmp_path} .* shared file system"),
    ):
        list(in_parallel(None, cluster_jobs.plain, [(1,)]))
