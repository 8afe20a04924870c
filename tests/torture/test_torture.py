"""A sample of each attack of `make torture`, small enough for every change."""

import random
import sys
import threading
from collections.abc import Iterator

import pytest

from torture import damage, disks, faults, fuzz, kills, together
from torture.__main__ import table
from torture.attempt import Attempt, Place

DRAW = 0  # a fixed seed: what is tried here is always the same


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Place(tmp_path_factory.mktemp("torture") / "place") as place:
        yield place


def survive(attempts: Iterator[Attempt], count: int = 1) -> None:
    found = list(attempts)
    assert len(found) >= count
    assert not [attempt for attempt in found if attempt.fault], table(found)


def test_kills(place: Place):
    survive(kills.attack(place, 1, random.Random(DRAW), only=("run",)))


def test_two_on_one_folder(place: Place):
    survive(together.attack(place, 1, random.Random(DRAW), only=("sweep + sweep",)))


@pytest.mark.skipif(sys.platform != "linux" or not disks.possible(), reason="no disks of one's own")
def test_full_disks(place: Place):
    survive(disks.attack(place, 1, random.Random(DRAW), only=("export",)))


def test_faults(place: Place):
    survive(faults.attack(place, 1, random.Random(DRAW), only=("no memory in training",)))


@pytest.mark.filterwarnings("ignore")
def test_damage(place: Place):
    survive(damage.attack(place, 10, random.Random(DRAW), only=("resume", "export", "report")), 6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("target", "cases"), [("command line", 100), ("configuration", 85), ("journal", 8), ("images", 7)]
)
def test_nonsense(place: Place, target: str, cases: int):
    assert threading.current_thread() is threading.main_thread()  # a case that hangs is ended by a signal
    survive(fuzz.attack(place, cases, random.Random(DRAW), huge=False, only=(target,)), cases // 3)


def test_the_table_counts_what_was_tried_and_survived():
    rows = table(
        [Attempt("kill", "a", "0"), Attempt("kill", "b", "0", "lost"), Attempt("fuzz", "c", "2 no")]
    ).splitlines()
    assert [row.split()[:3] for row in rows] == [
        ["attack", "tried", "survived"], ["fuzz", "1", "1"], ["kill", "2", "1"], ["all", "3", "2"],
    ]  # fmt: skip
