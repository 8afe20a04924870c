"""Disks that are full at some write, or read-only. Once there is room again, the work goes on to the usual result.

The disks are file systems in memory, in a name space of the process's own (unshare), so nobody else sees them. Where
the system allows none, nothing is tried.
"""

import random
import shlex
import subprocess
import sys
from collections.abc import Iterator

from torture.attempt import MAIN, Attempt, Place, finish
from torture.kills import Work, works

UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "bash", "-c")
READY = "ready to go on"  # parts the words of the attempt from those of going on


def possible() -> bool:
    """Whether this system lets a process mount a disk of its own."""
    try:
        return subprocess.run([*UNSHARE, "mount -t tmpfs tmpfs /mnt"], capture_output=True).returncode == 0
    except OSError:
        return False


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """`tries` disks, in turn for each command: full after some kB, every fourth read-only. only: these commands."""
    if not possible():
        return
    chosen = [work for work in works(place) if not only or work.name in only]
    for index in range(tries):
        kilobytes = 0 if index % 4 == 3 else draw.choice((8, 16, 32, 64, 96, 128, 192, 256))
        yield _full(place, chosen[index % len(chosen)], kilobytes)
    yield from _full_cache(place)


def _full(place: Place, work: Work, kilobytes: int) -> Attempt:
    """kilobytes: the size of the disk; 0: it is read-only."""
    disk, kept = place.new("disk"), place.new("kept")
    disk.mkdir()
    out = disk / "out"
    mount = f"mount -t tmpfs -o {f'size={kilobytes}k' if kilobytes else 'ro'} tmpfs {disk}"
    wider = f"mount -o remount,rw,size=64m {disk}"
    first = _line(*work.words, "--out", out)
    goes_on = f"if [ -e {out} ] && ls {out} | grep -q .; then {_line(*work.again(out))}; else {first}; fi"
    done = f"[ $status = 0 ] || {{ {wider}; {goes_on}; }}"
    script = f"{mount}; {first}; status=$?; echo {READY} >&2; {done} && cp -r {out} {kept}; exit $status"
    answer = finish(place.process(*UNSHARE, script), 180)
    told, _, later = answer.err.partition(READY)
    lines = [line for line in told.splitlines() if line.startswith("dp:")]
    faults = []
    if "Traceback" in told or (answer.status and len(lines) != 1) or answer.status not in (0, 1, 2, 3):
        faults.append(f"status {answer.status}: {told.strip()[-300:]}")
    faults.append(work.fault(place, kept) if kept.exists() else f"does not go on: {later.strip()[-200:]}")
    kind = "full disk" if kilobytes else "read-only disk"
    saw = f"{answer.status} {lines[-1] if lines else ''}"
    return Attempt(f"{kind}, {work.name}", f"{kilobytes} kB", saw[:160], "; ".join(filter(None, faults)))


def _full_cache(place: Place) -> Iterator[Attempt]:
    """A cache in which a generator finds no room."""
    run = next(work for work in works(place) if work.name == "run")
    out, disk = place.new("run"), place.new("disk")
    disk.mkdir()
    script = f"mount -t tmpfs -o size=8k tmpfs {disk}; {_line(*run.words, '--out', out)}"
    answer, faults = finish(place.process(*UNSHARE, script, XDG_CACHE_HOME=str(disk))), []
    if not answer.tidy or answer.status not in (2, 3):
        faults.append(f"status {answer.status}: {answer.last}")
    if out.exists() and any(out.iterdir()):
        faults.append(f"leaves {sorted(path.name for path in out.iterdir())}")
    yield Attempt("full disk, cache", "8 kB", f"{answer.status} {answer.last}", "; ".join(faults))


def _line(*words: object) -> str:
    """A line of the shell that runs `dp WORDS`."""
    return shlex.join([sys.executable, "-c", MAIN, *map(str, words)])
