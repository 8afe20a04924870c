"""Two processes on one folder: one writes, the other says so or finds it done."""

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from torture.attempt import SMALL, Attempt, Place, all_faults, run_fault
from torture.processes import Answer, finish
from torture.works import COMPARE, Fault, Words, works


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """Start `tries` pairs, in turn on each kind of folder, within a second of each other."""
    fresh = _fresh_pairs(place)
    names = only or (*fresh, "resume + resume", "cache")
    for index in range(tries):
        name = names[index % len(names)]
        gap = draw.uniform(0, 1)  # seconds
        if name == "resume + resume":
            yield _two_resumes(place, name, gap)
        elif name == "cache":
            yield _one_cache(place, gap)
        else:
            first, second, fault = fresh[name]
            out = place.new("both")
            yield _pair(place, name, (*first, "--out", out), (*second, "--out", out), out, fault, gap)


def _fresh_pairs(place: Place) -> dict[str, tuple[Words, Words, Fault]]:
    by_name = works(place)
    export = by_name["export"]
    figures = by_name["figures"]
    run: Words = ("real", "run", *SMALL)
    return {
        "run + resume": (run, (*run, "--resume"), run_fault),
        "export + export": (export.words, export.words, export.fault),
        "compare + compare": (COMPARE, (*COMPARE, "--resume"), by_name["compare"].fault),
        "figures + figures": (figures.words, figures.words, figures.fault),
    }


def _two_resumes(place: Place, name: str, gap: float) -> Attempt:
    run = place.copy(place.stopped)
    words: Words = ("real", "resume", run)
    return _pair(place, name, words, words, run, run_fault, gap)


def _pair(place: Place, name: str, first: Words, second: Words, out: Path, fault: Fault, gap: float) -> Attempt:
    answers = _start_apart(place, (first, second), gap)
    faults = []
    for answer in answers:
        if answer.status not in (0, 2) or not answer.tidy:
            faults.append(f"status {answer.status}: {answer.last}")
    if any(answer.status == 0 for answer in answers):
        faults.append(fault(place, out))
    else:
        faults.append("neither did the work")
    return _attempt(name, gap, answers, faults)


def _one_cache(place: Place, gap: float) -> Attempt:
    """The two runs need the same generator, which neither finds."""
    place.whole  # noqa: B018 (what the runs are compared with is made first)
    shutil.rmtree(place.path / "cache")
    outs = [place.new("run"), place.new("run")]
    answers = _start_apart(place, [("real", "run", *SMALL, "--out", out) for out in outs], gap)
    faults = [f"status {answer.status}: {answer.last}" for answer in answers if answer.status]
    faults += [run_fault(place, out) for out in outs]
    return _attempt("cache", gap, answers, faults)


def _start_apart(place: Place, commands: Sequence[Words], gap: float) -> list[Answer]:
    processes = []
    for words in commands:
        if processes:
            time.sleep(gap)
        processes.append(place.start(*words))
    return [finish(process) for process in processes]


def _attempt(name: str, gap: float, answers: Sequence[Answer], faults: list[str]) -> Attempt:
    saw = " / ".join(f"{answer.status} {answer.last[:100]}" for answer in answers)
    return Attempt(f"two on one folder, {name}", f"{gap:.2f} s apart", saw, all_faults(faults))
