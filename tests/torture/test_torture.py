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


NO_DISKS = pytest.mark.skipif(sys.platform != "linux" or not disks.possible(), reason="no disks of one's own")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("attack", "tries", "only", "at_least"),
    [
        (kills, 1, ["run"], 1),
        (together, 1, ["export"], 1),
        pytest.param(disks, 1, ["export"], 1, marks=NO_DISKS),
        (faults, 1, ["no memory in training"], 1),
        (damage, 6, ["resume", "export", "report", "doctor"], 4),
    ],
)
def test_attacks(place, draw, attack, tries, only, at_least):
    assert_survived(attack.attack(place, tries, draw, only=only), at_least)


@pytest.mark.slow
def test_kills_while_an_endpoint_is_asked(place, draw):
    assert_survived(endpoint.attack(place, 3, draw), at_least=4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("target", "cases"), [("command line", 50), ("configuration", 40)])
def test_nonsense(place, draw, target, cases):
    assert threading.current_thread() is threading.main_thread()  # a case that hangs is ended by a signal
    attempts = fuzz.attack(place, cases, draw, huge=False, only=(target,))
    assert_survived(attempts, at_least=cases // 3)


def test_the_table_counts_what_was_tried_and_survived():
    attempts = [Attempt("kill", "a", "0"), Attempt("kill", "b", "0", "lost"), Attempt("fuzz", "c", "2 no")]
    rows = table(attempts).splitlines()
    assert [" ".join(row.split()[:3]) for row in rows] == ["attack tried survived", "fuzz 1 1", "kill 2 1", "all 3 2"]
