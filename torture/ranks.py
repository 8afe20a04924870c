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
RESTARTED = "a process failed; restart 1 of 3"
FAULTS: dict[str, tuple[bool, tuple[str, ...]]] = {
    "no memory in training": (True, ()),
    "slow": (True, ()),
    "sees late": (True, ()),
    "hung while drawing": (True, ("Rank 5 failed to pass", RESTARTED)),
    "killed while drawing": (True, ("rank 5 was ended by SIGKILL", RESTARTED)),
    "killed while training": (True, ("rank 5 was ended by SIGKILL", RESTARTED)),
    "killed while committing": (True, ("rank 5 was ended by SIGKILL", RESTARTED)),
    "main killed while committing": (True, ("rank 0 was ended by SIGKILL", RESTARTED)),
    "main broken while committing": (True, ("OSError: [Errno 5] Input/output error (injected)", RESTARTED)),
    "broken while drawing": (False, ("rank 5: OSError: [Errno 5] Input/output error (injected)",)),
    "nan while drawing": (False, ("rank 5: step 2: round 1: 5 of 5 samples are not finite",)),
    "never sees": (False, ("rank 5: ",)),
}
"""Faults of torture.machine, whether a run outlives them, and parts of lines that the user must read."""
COUNTS = ("pool_size", "samples_generated", "samples_seen", "steps", "processes")


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """Try the first `tries` faults, 0: all."""
    names = only or tuple(FAULTS)
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
    succeeds, lines = FAULTS[name]
    faults = [f"not printed: {part}" for part in lines if not any(part in line for line in answer.messages)]
    if "Traceback" in answer.err or (answer.status == 0) != succeeds:
        faults.append(f"status {answer.status}: {answer.err[-300:]}")
    if not succeeds:
        if len(answer.messages) > 1:
            faults.append(f"{len(answer.messages)} lines: {answer.messages}")
        again = _run_ranks(place, "none", "real", "resume", out)
        if again.status:
            faults.append(f"does not go on: {again.last}")
    if "no memory" in name:  # halves of what does not fit add up to the same but for rounding
        faults.append(_count_fault(out, sound))
    else:
        faults.append(run_fault(place, out, sound))
    saw = f"{answer.status} {next(iter(answer.messages), '')}"
    return Attempt(f"{PROCESSES} ranks, {name}", f"{answer.seconds:.0f} s", saw, all_faults(faults))


def _count_fault(run: Path, sound: Path) -> str:
    try:
        found = outcome(run)["result"]
        expected = outcome(sound)["result"]
    except (OSError, ValueError) as error:
        return f"the run is not whole: {error}"
    return "; ".join(f"another {key}" for key in COUNTS if found[key] != expected[key])
