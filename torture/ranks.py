"""A machine of eight processes, one of which runs out of memory, is slow, hangs, dies, or sees files late.

Survived: nothing hangs; the user reads who failed; and what was begun goes on to the result of eight sound processes.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from torture.attempt import SMALL, Answer, Attempt, Place, end_group, finish, orphans, run_fault, traces

PROCESSES, LIMIT = 8, 900  # seconds: of so many processes, on a machine of two busy cores
SHARED = {"sampling.block_size": 5, "practice.initial": 80, "practice.increment": 40, "training.steps": 24}
WORDS = (*SMALL, *(word for key, value in SHARED.items() for word in ("--set", f"{key}={value}")))
ENDS_WELL = {"no memory in training": "", "slow": "for rank 5 (last seen ", "sees late": ""}
ENDS = {
    "hung while drawing": "rank 5 (last seen drawing rows 10 to 14 of round 1) did not come",
    "killed while drawing": "rank 5 was ended by SIGKILL",
    "broken while drawing": "rank 5: OSError: [Errno 5] Input/output error (injected)",
    "nan while drawing": "rank 5: step 12: round 1: 5 of 5 samples are not finite",
    "killed while training": "rank 5 was ended by SIGKILL",
    "killed while committing": "rank 5 was ended by SIGKILL",
    "main killed while committing": "rank 0 was ended by SIGKILL",
    "main broken while committing": "OSError: [Errno 5] Input/output error (injected)",
    "never sees": "rank 5: ",
}  # fmt: skip


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """The first `tries` faults, 0: all. only: these."""
    names = only or (*ENDS_WELL, *ENDS)
    sound = place.new("sound")
    answer = _dp(place, "none", "real", "run", *WORDS, "--out", sound)
    assert answer.status == 0, answer.err
    for name in names[: tries or None]:
        yield _attempt(place, name, sound)


def _dp(place: Place, fault: str, *words: object) -> Answer:
    """`dp WORDS` in PROCESSES processes. What is left of them is ended, and counts as a crash."""
    command = (sys.executable, "-m", "torture.machine", fault, *words, "--processes", PROCESSES)
    process = place.process(*command)
    answer = finish(process, LIMIT)
    if left := orphans(process.pid):
        end_group(process.pid)
        return Answer(1, answer.out, f"{answer.err}\nTraceback: {len(left)} processes live on", answer.seconds)
    return answer


def _attempt(place: Place, name: str, sound: Path) -> Attempt:
    out, told, faults = place.new("run"), (ENDS_WELL | ENDS)[name], []
    answer = _dp(place, name, "real", "run", *WORDS, "--out", out)
    lines = [line for line in answer.err.splitlines() if line.startswith("dp:")]
    if "Traceback" in answer.err or (answer.status == 0) != (name in ENDS_WELL):
        faults.append(f"status {answer.status}: {answer.err[-300:]}")
    if not any(told in line for line in lines) and told:
        faults.append(f"not told: {told}")
    if name in ENDS and len([line for line in lines if "waiting for" not in line]) > 1:
        faults.append(f"{len(lines)} lines: {lines}")
    if name in ENDS:
        again = _dp(place, "none", "real", "resume", out)
        if again.status:
            faults.append(f"does not go on: {again.last}")
    # Halves of what does not fit add up to the same but for rounding.
    faults.append(_lost(out, sound) if "no memory" in name else run_fault(place, out, sound))
    return Attempt(f"{PROCESSES} ranks, {name}", f"{answer.seconds:.0f} s", f"{answer.status} {next(iter(lines), '')}",
                   "; ".join(filter(None, faults)))  # fmt: skip


def _lost(run: Path, sound: Path) -> str:
    """What a run has less or more of than a sound one; empty if nothing."""
    counts = ("pool_size", "samples_generated", "samples_seen", "steps", "processes")
    try:
        found, expected = (traces(folder)[0] for folder in (run, sound))
    except (OSError, ValueError) as error:
        return f"the run is not whole: {error}"
    return "; ".join(f"another {key}" for key in counts if found[key] != expected[key])
