"""Eight processes, one of which runs out of memory, is slow, hangs, dies, or sees files late.

Survived: nothing hangs, the user reads who failed, and the work comes to the result of sound processes.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from torture.attempt import SMALL, Attempt, Place, all_faults, as_options, outcome, run_fault
from torture.processes import Answer, end_group, finish, orphans

PROCESSES = 8
HANGS_AFTER = 900  # seconds: so many processes take long on a machine of two busy cores
SETTINGS = {"sampling.block_size": 5, "practice.initial": 80, "practice.increment": 40, "training.steps": 24}
RUN = ("real", "run", *SMALL, *as_options(SETTINGS))
ENDS_WELL = {"no memory in training": "", "slow": "", "sees late": ""}
"""Faults of torture.machine that a run outlives, and a part of the line that the user must read, if any."""
RESTARTS = {
    "hung while drawing": "Rank 5 failed to pass",
    "killed while drawing": "rank 5 was ended by SIGKILL",
    "killed while training": "rank 5 was ended by SIGKILL",
    "killed while committing": "rank 5 was ended by SIGKILL",
    "main killed while committing": "rank 0 was ended by SIGKILL",
    "main broken while committing": "OSError: [Errno 5] Input/output error (injected)",
}
"""Faults after which dp starts the processes again, and a part of the line that says why."""
ENDS_EARLY = {
    "broken while drawing": "rank 5: OSError: [Errno 5] Input/output error (injected)",
    "nan while drawing": "rank 5: step 12: round 1: 5 of 5 samples are not finite",
    "never sees": "rank 5: ",
}
"""Faults that end a run, and a part of the one line that says so."""
COUNTS = ("pool_size", "samples_generated", "samples_seen", "steps", "processes")


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """Try the first `tries` faults, 0: all."""
    names = only or (*ENDS_WELL, *RESTARTS, *ENDS_EARLY)
    sound = place.new("sound")
    answer = _run_ranks(place, "none", *RUN, "--out", sound)
    assert answer.status == 0, answer.err
    for name in names[: tries or None]:
        yield _attempt(place, name, sound)


def _run_ranks(place: Place, fault: str, *words: object) -> Answer:
    """What is left of the processes counts as a crash."""
    process = place.process(sys.executable, "-m", "torture.machine", str(PROCESSES), fault, *words)
    answer = finish(process, HANGS_AFTER)
    if left := orphans(process.pid):
        end_group(process.pid)
        return Answer(1, answer.out, f"{answer.err}\nTraceback: {len(left)} processes live on", answer.seconds)
    return answer


def _attempt(place: Place, name: str, sound: Path) -> Attempt:
    out = place.new("run")
    answer = _run_ranks(place, name, *RUN, "--out", out)
    if name in ENDS_WELL:
        faults = _message_faults(answer, succeeds=True, told=ENDS_WELL[name])
    elif name in RESTARTS:
        faults = _message_faults(answer, succeeds=True, told=RESTARTS[name])
        faults += _message_faults(answer, succeeds=True, told="a process failed; restart 1 of 3")
    else:
        faults = _message_faults(answer, succeeds=False, told=ENDS_EARLY[name])
        again = _run_ranks(place, "none", "real", "resume", out)
        if again.status:
            faults.append(f"does not go on: {again.last}")
    if "no memory" in name:  # halves of what does not fit add up to the same but for rounding
        faults.append(_count_fault(out, sound))
    else:
        faults.append(run_fault(place, out, sound))
    saw = f"{answer.status} {next(iter(answer.messages), '')}"
    return Attempt(f"{PROCESSES} ranks, {name}", f"{answer.seconds:.0f} s", saw, all_faults(faults))


def _message_faults(answer: Answer, *, succeeds: bool, told: str) -> list[str]:
    faults = []
    if "Traceback" in answer.err or (answer.status == 0) != succeeds:
        faults.append(f"status {answer.status}: {answer.err[-300:]}")
    if told and not any(told in line for line in answer.messages):
        faults.append(f"not told: {told}")
    if not succeeds and len(answer.messages) > 1:
        faults.append(f"{len(answer.messages)} lines: {answer.messages}")
    return faults


def _count_fault(run: Path, sound: Path) -> str:
    try:
        found = outcome(run)["result"]
        expected = outcome(sound)["result"]
    except (OSError, ValueError) as error:
        return f"the run is not whole: {error}"
    return "; ".join(f"another {key}" for key in COUNTS if found[key] != expected[key])
