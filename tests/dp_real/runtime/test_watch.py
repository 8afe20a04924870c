"""A process that does not come, and a file system that shows late what was written."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dp_base.checksums import RECORD
from dp_base.errors import DamagedError
from dp_real.pool import Pool, late
from dp_real.pool import pool as pools
from dp_real.runs import conclude
from dp_real.runs.run_files import RunFiles
from dp_real.runtime import processes, watch
from dp_real.runtime.watch import Phase, Watch
from tests.dp_real.pool.made import SHAPE, batch


class Store(dict[str, str]):
    """The store by which two processes leave notes."""

    def set(self, name: str, note: str) -> None:
        self[name] = note

    def check(self, names: list[str]) -> bool:
        return all(name in self for name in names)

    def get(self, name: str) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self[name].encode()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(watch, "_say", lines.append)
    monkeypatch.setattr(watch.os, "_exit", lambda status: lines.append(f"exit {status}"))
    return lines


class Clock:
    """A clock that a test sets. It counts minutes."""

    def __init__(self) -> None:
        self.minutes = 0.0

    def monotonic(self) -> float:
        return 60 * self.minutes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(watch, "time", found)
    return found


def waiting(store: Store, rank: int = 0, processes: int = 3, what: str = "the sum of the gradients") -> Watch:
    """Return the watch of a process that has joined the others for the seventh time, and waits from now on."""
    one = Watch(store, rank, processes)
    for _ in range(7):
        with one.joining(what, lasting=True):
            pass
    return one


def test_who_is_missing_is_named_after_minutes_once_by_one(said: list[str], clock: Clock):
    store = Store(
        {"watch/0": "7|0|0|a", "watch/1": "6|0|0|drawing rows 0 to 63 of round 2", "watch/2": "7|0|0|training"}
    )
    first = waiting(store)
    second = waiting(store, rank=2)
    clock.minutes = 4
    first.look()
    assert said == []
    clock.minutes = 6
    for one in (first, second, first):
        one.look()
    assert said == [
        "dp: waiting for 6 min in the sum of the gradients for rank 1 (last seen drawing rows 0 to 63 of round 2)"
    ]


@pytest.mark.parametrize(("note", "ends"), [("6|0|0|training", True), ("6|1|0|loading the generator", False)])
def test_the_run_ends_unless_the_phase_may_take_any_time(said: list[str], clock: Clock, note: str, ends: bool):
    one = waiting(Store({"watch/1": note}), processes=2)
    clock.minutes = 61
    one.look()
    assert said[-1:] == (["exit 1"] if ends else said[:1])


@pytest.mark.parametrize("goes_on", [True, False])
def test_who_gives_signs_of_life_may_take_longer(said: list[str], clock: Clock, goes_on: bool):
    """A block of a large model may take hours. A process that hangs is still ended an hour after its last sign."""
    store = Store()
    one = waiting(store, processes=2, what="an exchange of results")
    for minutes in range(5, 185, 5):
        store["watch/1"] = f"6|0|{minutes if goes_on or minutes < 60 else 60}|drawing rows 0 to 99 of round 1"
        clock.minutes = minutes + 1 / 60
        one.look()
    ended = [line for line in said if line.startswith("exit")]
    assert bool(ended) == (not goes_on)
    assert said[0].startswith("dp: waiting for 5 min in an exchange of results for rank 1")


def test_a_gpu_waits_after_it_was_told_to(said: list[str], monkeypatch: pytest.MonkeyPatch):
    """The sum of gradients returns at once there. The process itself waits later, until it joins or enters again."""
    monkeypatch.setattr(watch, "PATIENCE", 0.0)
    one = Watch(Store({"watch/1": "0|0|0|reading rows"}), 0, 2)
    with one.joining("the sum of the gradients", lasting=True):
        pass
    one.look()
    assert said == ["dp: waiting for 0 min in the sum of the gradients for rank 1 (last seen reading rows)"]
    one.enter(Phase("evaluating at step 20", patient=False))
    one.look()
    assert len(said) == 1


def test_others_are_told_the_phase_of_a_block_and_then_the_one_before(monkeypatch: pytest.MonkeyPatch):
    store = Store()
    one = Watch(store, 0, 2)
    monkeypatch.setattr(processes, "_watch", lambda: one)
    monkeypatch.setattr(processes, "this_process", lambda: SimpleNamespace(num_processes=2))
    notes = []

    def note() -> None:
        one.look()
        notes.append(store["watch/0"])

    with processes.phase("training"):
        note()
        with processes.phase("reading the data", patient=True):
            note()
        note()
    note()
    assert notes == ["0|0|0|training", "0|1|0|reading the data", "0|0|0|training", "0|1|0|starting"]


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (
            RuntimeError("Connection closed by peer"),
            processes.LostError,
            "in a copy from rank 0 (Connection closed by peer)",
        ),
        (RuntimeError("NCCL error\n\nLast error:\nDuplicate GPU"), processes.LostError, "(NCCL error … Duplicate GPU)"),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "CUDA out of memory"),
    ],
)
def test_a_failed_exchange_tells_its_cause(monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type, told: str):
    monkeypatch.setattr(processes, "_watch", lambda: Watch(Store(), 0, 2))
    with pytest.raises(kind, match=re.escape(told)), processes.joining("a copy from rank 0"):
        raise error


HANGS = """
import sys, time
from dp_real.runtime import processes, watch
watch.LOOKS, watch.PATIENCE, watch.LIMIT = 0.1, 0.5, 1.5
if processes.this_process().process_index == 1:
    with processes.phase("drawing rows 0 to 63 of round 2"):
        time.sleep(120)
processes.gather([0])
"""


@pytest.mark.slow
def test_a_hung_process_ends_the_run(tmp_path: Path):
    (tmp_path / "script.py").write_text(HANGS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*command, tmp_path / "script.py"], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode != 0
    assert "rank 1 (last seen drawing rows 0 to 63 of round 2) did not come to an exchange of results" in done.stderr


def sees_late(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Make this node see a pool's second version only at the third look. Returns the versions that were looked for."""
    looks: list[int | None] = []
    open_ = pools.read_round

    def late_view(folder: Path) -> Any:
        looks.append(int(folder.name[-1]) + 1)
        if looks[-1] == 2 and looks.count(2) <= 2:
            raise ValueError("Not found: version 2")
        return open_(folder)

    monkeypatch.setattr(pools, "read_round", late_view)
    monkeypatch.setattr(late, "PAUSE", 0.0)
    return looks


def pool_of_two_rounds(folder: Path) -> Pool:
    pool = Pool(folder / "pool", SHAPE)
    for index in range(2):
        pool.append(index, batch(pool, torch.full((3, *SHAPE), float(index))))
    return pool


def test_a_node_that_sees_late_waits_for_the_version_with_a_remark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    pool_of_two_rounds(tmp_path)
    other = Pool(tmp_path / "pool", SHAPE, 1)
    monkeypatch.setattr(late, "this_process", lambda: SimpleNamespace(num_processes=8))
    looks = sees_late(monkeypatch)
    other._open(1)
    assert (len(looks), len(other), other.version) == (3, 6, 2)
    assert torch.equal(other.y, torch.zeros(6, dtype=torch.int64))
    assert caplog.text.count("waiting for what another process wrote there") == 1


def test_the_best_learner_is_the_one_that_the_main_process_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At its first look, another node sees the learner before the best one."""
    files = RunFiles(tmp_path)
    looks = []
    loaded = []
    files.best.mkdir()

    def view(folder: Path, remedy: str) -> None:
        looks.append(folder)
        (folder / RECORD).write_bytes(b"earlier" if len(looks) == 2 else b"latest")

    monkeypatch.setattr(conclude, "verify", view)
    monkeypatch.setattr(late, "this_process", lambda: SimpleNamespace(num_processes=8))
    monkeypatch.setattr(late, "PAUSE", 0.0)
    learner: Any = SimpleNamespace(load=loaded.append)
    conclude.load_best(learner, files)
    assert (len(looks), loaded) == (3, [files.best])


def test_the_wait_is_bounded_and_a_single_process_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pool = pool_of_two_rounds(tmp_path)
    with pytest.raises(DamagedError):
        pool._open(2)
    monkeypatch.setattr(late, "this_process", lambda: SimpleNamespace(num_processes=8))
    monkeypatch.setattr(late, "PATIENCE", 0.2)
    monkeypatch.setattr(late, "PAUSE", 0.01)
    with pytest.raises(DamagedError):
        pool._open(2)
    assert (len(pool), pool.version) == (6, 2)
