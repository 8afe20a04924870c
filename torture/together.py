"""Two processes on one folder: one writes it, the other says so or finds it done, and the result is the usual."""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from torture.attempt import SMALL, Attempt, Place, finish, run_fault
from torture.kills import COMPARE, SWEEP, works

Words = tuple[object, ...]
Fault = Callable[[Place, Path], str]


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """`tries` pairs of processes, in turn on each kind of folder; the second starts within a second of the first.

    only: these kinds of folder, by default all.
    """
    by_name = {work.name: work for work in works(place)}
    fresh: dict[str, tuple[Words, Words, Fault]] = {
        "run + resume": (("real", "run", *SMALL), ("real", "run", *SMALL, "--resume"), run_fault),
        "sweep + sweep": (SWEEP, (*SWEEP, "--resume"), by_name["sweep"].fault),
        "export + export": (by_name["export"].words, by_name["export"].words, by_name["export"].fault),
        "compare + compare": (COMPARE, (*COMPARE, "--resume"), by_name["compare"].fault),
        "figures + figures": (by_name["figures"].words, by_name["figures"].words, by_name["figures"].fault),
    }
    names = only or (*fresh, "resume + resume", "cache")
    for index in range(tries):
        name = names[index % len(names)]
        if name == "resume + resume":
            yield _pair(place, name, *_resumes(place), draw.uniform(0, 1))
        elif name == "cache":
            yield _one_cache(place, draw.uniform(0, 1))
        else:
            first, second, fault = fresh[name]
            out = place.new("both")
            both = (*first, "--out", out), (*second, "--out", out)
            yield _pair(place, name, *both, out, fault, draw.uniform(0, 1))


def _resumes(place: Place) -> tuple[Words, Words, Path, Fault]:
    run = place.copy(place.stopped)
    return ("real", "resume", run), ("real", "resume", run), run, run_fault


def _pair(place: Place, name: str, first: Words, second: Words, out: Path, fault: Fault, gap: float) -> Attempt:
    one = place.start(*first)
    time.sleep(gap)
    other = place.start(*second)
    answers, faults = (finish(one), finish(other)), []
    for answer in answers:
        if answer.status not in (0, 2) or not answer.tidy:
            faults.append(f"status {answer.status}: {answer.last}")
    if any(answer.status == 0 for answer in answers):
        faults.append(fault(place, out))
    else:
        faults.append("neither did the work")
    saw = " / ".join(f"{answer.status} {answer.last[:100]}" for answer in answers)
    return Attempt(f"two on one folder, {name}", f"{gap:.2f} s apart", saw, "; ".join(filter(None, faults)))


def _one_cache(place: Place, gap: float) -> Attempt:
    """Two runs that need the same generator, which neither finds in the cache."""
    place.whole  # noqa: B018 (what the runs are compared with is made first)
    shutil.rmtree(place.path / "cache")
    outs = place.new("run"), place.new("run")
    processes = []
    for out in outs:
        processes.append(place.start("real", "run", *SMALL, "--out", out))
        time.sleep(gap)
    answers = [finish(process) for process in processes]
    faults = [f"status {answer.status}: {answer.last}" for answer in answers if answer.status]
    faults += [run_fault(place, out) for out in outs]
    saw = " / ".join(f"{answer.status} {answer.last[:100]}" for answer in answers)
    return Attempt("two on one folder, cache", f"{gap:.2f} s apart", saw, "; ".join(filter(None, faults)))
