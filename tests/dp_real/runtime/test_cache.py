"""The cache makes an entry once and whole, however many processes ask for it."""

import errno
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from safetensors import SafetensorError

from dp_base.checksums import damage
from dp_base.errors import MissingError
from dp_real.runtime import cache
from dp_real.runtime.cache import cache_folder, cached
from tests.dp_real.runs.folders import empty, flip, halve
from tests.refusals import refusal
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("own_cache")


def entries():
    return sorted(path.parent for path in cache_folder().rglob("depends.json"))


ASK = """
import sys, time
from pathlib import Path
from dp_real.runtime.cache import cached

number, seconds, here = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])

def make(staged):
    (here / f"made-{number}").touch()
    (staged / "half").write_text("half")
    time.sleep(seconds)
    (staged / "whole").write_text(f"made-{number}")

(here / f"ready-{number}").touch()
while len(list(here.glob("ready-*"))) < 2:
    time.sleep(0.01)
folder = cached("generators/mine", {"steps": 3}, make)
assert (here / (folder / "whole").read_text()).exists()
"""


@pytest.mark.parametrize("kill", [False, True])
def test_of_two_processes_that_want_the_same_one_makes_it_and_the_other_if_that_is_killed(tmp_path, kill):
    """They ask at the same time."""

    def made():
        return [int(path.name.removeprefix("made-")) for path in tmp_path.glob("made-*")]

    asked = [[sys.executable, "-c", ASK, str(number), str(0.5 + kill), str(tmp_path)] for number in range(2)]
    processes = [subprocess.Popen(command) for command in asked]
    if kill:
        until(made)
        killed = processes.pop(*made())
        killed.kill()
        killed.wait()
    assert [process.wait(60) for process in processes] == [0] * len(processes)
    assert len(made()) == 1 + kill
    (entry,) = entries()  # no half-made one
    assert entry.name.startswith("mine-")


def fill(staged):
    (staged / "weights").write_text("weights")


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("weights", flip),
        ("weights", empty),
        ("weights", Path.unlink),
        ("depends.json", halve),
        ("SHA256SUMS", halve),
    ],
)
def test_a_broken_entry_is_made_again(file, harm, caplog):
    folder = cached("mine", {"seed": 0}, fill)
    harm(folder / file)
    cache._intact.clear()  # as in another process
    assert cached("mine", {"seed": 0}, fill) == folder
    (remark,) = caplog.messages
    assert remark.startswith(str(folder))
    assert remark.endswith("it is made again")
    assert damage(folder) is None


def test_an_entry_of_before_has_no_checksums_and_is_used():
    folder = cached("mine", {}, fill)
    (folder / "SHA256SUMS").unlink()
    cache._intact.clear()
    assert cached("mine", {}, None) == folder


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), SafetensorError("no room (os error 28)")])
def test_a_full_cache_is_a_line_that_says_where_to_make_room(error):
    with refusal(r"the cache .* cannot be written to: .*make room there, or set XDG_CACHE_", MissingError):
        cached("mine", {}, Mock(side_effect=error))
    assert entries() == []


def test_so_is_a_place_without_a_cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/cache")
    with refusal("cannot be written to: .*: No such file", MissingError):
        cached("mine", {}, fill)


def test_so_is_a_folder_in_it():
    (cached("mine", {}, fill).parent / "kind").touch()
    with refusal("kind: Not a directory", MissingError):
        cached("kind/mine", {}, fill)


def test_what_a_killed_process_left_is_deleted_when_the_entry_is_made():
    cached("mine", {}, fill)
    half = cache_folder() / f".part-999999999-{cached('mine', {}, fill).name}-abcd1234"
    half.mkdir()
    (cached("mine", {}, fill) / "weights").unlink()
    cache._intact.clear()
    cached("mine", {}, fill)
    assert not half.exists()
