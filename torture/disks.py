"""Full or read-only disks; with room again, the work goes on to the usual result.

The disks are in memory, in a name space of the process's own (unshare), where the system allows it.
"""

import random
import shlex
import subprocess
import sys
from collections.abc import Iterator

from torture.attempt import MAIN, Attempt, Place, all_faults
from torture.processes import Answer, finish
from torture.works import Work, chosen_works, works

UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "bash", "-c")
READY = "ready to go on"  # separates what the attempt writes from what going on writes
KILOBYTES = (8, 16, 32, 64, 96, 128, 192, 256)
HANGS_AFTER = 600  # seconds; a tuning alone takes 120 on two busy cores


def possible() -> bool:
    """Whether this system lets a process mount a disk of its own."""
    try:
        return subprocess.run([*UNSHARE, "mount -t tmpfs tmpfs /mnt"], capture_output=True).returncode == 0
    except OSError:
        return False


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """Try `tries` disks, in turn for each command; every fourth is read-only."""
    if not possible():
        return
    chosen = chosen_works(place, only)
    for index in range(tries):
        read_only = index % 4 == 3
        kilobytes = 0 if read_only else draw.choice(KILOBYTES)
        yield _full_disk(place, chosen[index % len(chosen)], kilobytes)
    yield _full_cache(place)


def _full_disk(place: Place, work: Work, kilobytes: int) -> Attempt:
    """A disk of 0 kilobytes is read-only."""
    kept = place.new("kept")
    script = _script(place, work, kilobytes, kept=str(kept))
    answer = finish(place.process(*UNSHARE, script), HANGS_AFTER)
    printed, _, later = answer.err.partition(READY)
    first = Answer(answer.status, "", printed, answer.seconds)
    faults = []
    if not first.tidy or first.status not in (0, 1, 2, 3):
        faults.append(f"status {first.status}: {printed.strip()[-300:]}")
    faults.append(work.fault(place, kept) if kept.exists() else f"does not go on: {later.strip()[-200:]}")
    kind = "full disk" if kilobytes else "read-only disk"
    return Attempt(f"{kind}, {work.name}", f"{kilobytes} kB", first.line, all_faults(faults))


def _script(place: Place, work: Work, kilobytes: int, kept: str) -> str:
    """The result is copied to `kept`, since a disk vanishes with the process that mounted it."""
    disk = place.new("disk")
    disk.mkdir()
    out = disk / "out"
    size = f"size={kilobytes}k" if kilobytes else "ro"
    mount = f"mount -t tmpfs -o {size} tmpfs {disk}"
    make_room = f"mount -o remount,rw,size=64m {disk}"
    first = _shell_line(*work.into(out))
    again = _shell_line(*work.again(out))
    go_on = f"if [ -e {out} ] && ls {out} | grep -q .; then {again}; else {first}; fi"
    finished = f"[ $status = 0 ] || {{ {make_room}; {go_on}; }}"
    return f"{mount}; {first}; status=$?; echo {READY} >&2; {finished} && cp -r {out} {kept}; exit $status"


def _full_cache(place: Place) -> Attempt:
    run = works(place)["run"]
    out = place.new("run")
    disk = place.new("disk")
    disk.mkdir()
    script = f"mount -t tmpfs -o size=8k tmpfs {disk}; {_shell_line(*run.into(out))}"
    answer = finish(place.process(*UNSHARE, script, XDG_CACHE_HOME=str(disk)))
    faults = []
    if not answer.tidy or answer.status not in (2, 3):
        faults.append(f"status {answer.status}: {answer.last}")
    if out.exists() and any(out.iterdir()):
        faults.append(f"leaves {sorted(path.name for path in out.iterdir())}")
    return Attempt("full disk, cache", "8 kB", answer.line, all_faults(faults))


def _shell_line(*words: object) -> str:
    return shlex.join([sys.executable, "-c", MAIN, *map(str, words)])
