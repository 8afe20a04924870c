"""Two processes on one folder: one writes, the other says so or finds it done."""

import random
import shutil
import time
from collections.abc import Iterator

from torture.attempt import SMALL, Attempt, Place, all_faults, run_fault
from torture.processes import finish
from torture.works import Words, works

PAIRS = ("run", "export", "compare", "figures", "two resumes", "one cache")
"""A work that is begun twice; a run that is resumed twice; and two runs that need the same generator."""


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """Start `tries` pairs, in turn on each kind of folder, within a second of each other."""
    names = only or PAIRS
    for index in range(tries):
        yield _pair(place, names[index % len(names)], draw.uniform(0, 1))


def _pair(place: Place, name: str, gap: float) -> Attempt:
    fault = run_fault
    outs = [place.new("both")]
    if name == "two resumes":
        outs = [place.copy(place.stopped)]
        commands: list[Words] = [("real", "resume", *outs)] * 2
    elif name == "one cache":
        place.whole  # noqa: B018 (what the runs are compared with is made first)
        shutil.rmtree(place.path / "cache")
        outs.append(place.new("both"))
        commands = [("real", "run", *SMALL, "--out", out) for out in outs]
    else:
        work = works(place)[name]
        fault = work.fault
        commands = [work.into(*outs), work.again(*outs)]
    first = place.start(*commands[0])
    time.sleep(gap)
    second = place.start(*commands[1])
    answers = [finish(first), finish(second)]
    allowed = (0,) if name == "one cache" else (0, 2)
    faults = [
        f"status {answer.status}: {answer.last}"
        for answer in answers
        if answer.status not in allowed or not answer.tidy
    ]
    if any(answer.status == 0 for answer in answers):
        faults += [fault(place, out) for out in outs]
    else:
        faults.append("neither did the work")
    saw = " / ".join(f"{answer.status} {answer.last[:100]}" for answer in answers)
    return Attempt(f"two on one folder, {name}", f"{gap:.2f} s apart", saw, all_faults(faults))
