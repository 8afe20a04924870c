"""A sample of each attack of `make torture`, small enough for every change."""

import random
import sys
import threading

import pytest

from torture import damage, disks, endpoint, faults, fuzz, kills, together
from torture.__main__ import table
from torture.attempt import Attempt, Place

SEED = 0  # what is tried here is always the same


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with Place(tmp_path_factory.mktemp("torture") / "place") as place:
        yield place


@pytest.fixture
def draw():
    return random.Random(SEED)


def assert_survived(attempts, at_least=1):
    found = list(attempts)
    assert len(found) >= at_least
    assert not [attempt for attempt in found if attempt.fault], table(found)


@pytest.mark.slow
def test_kills(place, draw):
    assert_survived(kills.attack(place, 1, draw, only=("run",)))


@pytest.mark.slow
def test_kills_while_an_endpoint_is_asked(place, draw):
    assert_survived(endpoint.attack(place, 3, draw), at_least=4)


@pytest.mark.slow
def test_two_on_one_folder(place, draw):
    assert_survived(together.attack(place, 1, draw, only=("export",)))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not disks.possible(), reason="no disks of one's own")
def test_full_disks(place, draw):
    assert_survived(disks.attack(place, 1, draw, only=("export",)))


@pytest.mark.slow
def test_faults(place, draw):
    assert_survived(faults.attack(place, 1, draw, only=("no memory in training",)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_damage(place, draw):
    assert_survived(damage.attack(place, 6, draw, only=("resume", "export", "report", "doctor")), at_least=4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("target", "cases"), [("command line", 50), ("configuration", 40)])
def test_nonsense(place, draw, target, cases):
    assert threading.current_thread() is threading.main_thread()  # a case that hangs is ended by a signal
    attempts = fuzz.attack(place, cases, draw, huge=False, only=(target,))
    assert_survived(attempts, at_least=cases // 3)


def test_the_table_counts_what_was_tried_and_survived():
    attempts = [Attempt("kill", "a", "0"), Attempt("kill", "b", "0", "lost"), Attempt("fuzz", "c", "2 no")]
    rows = table(attempts).splitlines()
    assert [row.split()[:3] for row in rows] == [
        ["attack", "tried", "survived"],
        ["fuzz", "1", "1"],
        ["kill", "2", "1"],
        ["all", "3", "2"],
    ]
