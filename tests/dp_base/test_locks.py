"""A folder has one writer; its lock ends with its process, and so do the workers of a process."""

import contextlib
import errno
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dp_base import locks
from dp_base.errors import InputError
from dp_base.files import LOCK, PART
from dp_base.locks import claimed, locked, locked_beside
from tests.refusals import refusal
from tests.waiting import until

SPAWN = multiprocessing.get_context("spawn")


def hold(folder, held):
    with locked(folder):
        held.set()
        time.sleep(60)


def test_a_second_writer_is_told_of_the_first_and_takes_over_when_that_dies(tmp_path):
    held = SPAWN.Event()
    folder = tmp_path / "run"
    writer = SPAWN.Process(target=hold, args=(folder, held))
    writer.start()
    assert held.wait(60)
    said = rf"is being written by process {writer.pid} on {socket.gethostname()} since 20.*: wait for it, or stop it"
    for writing in (locked, claimed):
        with refusal(said), writing(folder):
            pass
    writer.kill()
    writer.join(60)
    assert (folder / LOCK).exists()  # the file stays, the lock does not
    with locked(folder):
        (folder / "file").touch()
    assert os.listdir(folder) == ["file"]


def test_a_folder_that_its_writer_removes_is_made_again(tmp_path, patch):
    """Who leaves a folder empty removes it, also while another writer waits for its lock."""
    patch(locks, "default_timeout", 30.0)
    out = tmp_path / "out"
    with contextlib.ExitStack() as first:
        first.enter_context(locked(out))
        leaving = threading.Timer(0.5, first.close)
        leaving.start()
        with locked(out):
            leaving.join()
            assert (out / LOCK).exists()
    assert not out.exists()


@pytest.mark.parametrize("writing", [locked, locked_beside])
def test_folders_that_were_made_for_nothing_are_removed(writing, tmp_path):
    with refusal("refused"), writing(tmp_path / "runs" / "mine" / "out"):
        raise InputError("refused")
    assert not (tmp_path / "runs").exists()
    with writing(tmp_path / "out"):
        pass
    assert tmp_path.exists()


def test_what_appears_as_a_whole_is_locked_beside(tmp_path):
    with locked_beside(tmp_path / "out"):
        with refusal(f"process {os.getpid()} "), locked_beside(tmp_path / "out"):
            pass
        with locked_beside(tmp_path / "other"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_only_what_dead_processes_left_is_deleted(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for process in (dead.pid, os.getpid()):
        (tmp_path / f"{PART}{process}-out-abcd_123").mkdir()
        (tmp_path / f"{PART}{process}-0123abcd-table.csv").touch()
    (tmp_path / f"{PART}{dead.pid}-out2-abcd1234").mkdir()  # perhaps of a process on another machine
    with locked_beside(tmp_path / "out"):
        left = {path.name for path in tmp_path.glob(f"{PART}*")}
        assert f"{PART}{dead.pid}-out-abcd_123" not in left
        assert len(left) == 4
    with locked(tmp_path):
        left = {path.name for path in tmp_path.glob(f"{PART}*")}
    assert left == {f"{PART}{os.getpid()}-out-abcd_123", f"{PART}{os.getpid()}-0123abcd-table.csv"}


def test_a_place_where_nothing_can_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for writing in (locked(tmp_path / "file" / "out"), locked_beside(tmp_path / "file" / "out" / "x")):
        with refusal("cannot be written: .*file is a file; name a folder"), writing:
            pass
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out, why in (("file", "is a file; name a folder"), ("link/x", "link is a link that leads nowhere")):
        with refusal(why), claimed(tmp_path / out):
            pass


def test_a_place_without_locks_is_written_with_a_remark(tmp_path, patch, caplog):
    def none(file, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    patch("fcntl.flock", none)
    with locked(tmp_path / "out"):
        (tmp_path / "out" / "file").touch()
    assert caplog.messages == [f"{tmp_path / 'out'}: this file system has no locks; write there from one process only"]


WORKERS = """
import sys, time
from pathlib import Path
from dp_theory.numerics.parallel import run_jobs
sys.path.insert(0, {tests!r})
from tests.dp_base.worker_jobs import slowly
run_jobs(slowly, [({out!r},)] * 4, workers=2)
"""


def test_workers_end_with_their_parent(tmp_path):
    root = str(Path(__file__).parents[2])
    script = WORKERS.format(tests=root, out=str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    parent.kill()
    parent.wait(10)
    until(lambda: not any(map(runs, workers)), 10)


def runs(process):
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
