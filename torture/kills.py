"""SIGKILL, SIGTERM and SIGINT at random: what was begun goes on as if nothing had happened."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from torture.attempt import Attempt, Place, all_faults
from torture.processes import Answer, end_group, finish, orphans
from torture.works import Work, chosen_works

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """Send `tries` signals, spread over commands and signals."""
    chosen = chosen_works(place, only)
    usual_seconds: dict[str, float] = {}
    for index in range(tries):
        work = chosen[index % len(chosen)]
        number = SIGNALS[(index // len(chosen)) % len(SIGNALS)]
        if work.name not in usual_seconds:
            usual_seconds[work.name] = place.dp(*work.into(place.new("timed"))).seconds
        yield _kill(place, work, number, draw.uniform(0.1, usual_seconds[work.name]))


def _kill(place: Place, work: Work, number: signal.Signals, after: float) -> Attempt:
    out = place.new(work.name)
    process = place.start(*work.into(out))
    time.sleep(after)
    if number == signal.SIGINT:  # a terminal sends it to all processes
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    first = finish(process)
    faults = []
    if left := orphans(process.pid):
        faults.append(f"{len(left)} processes live on")
        end_group(process.pid)
    if number == signal.SIGINT and (first.status not in (0, 130) or not first.tidy):
        faults.append(f"Ctrl-C ended with {first.status}: {first.last}")
    again = _go_on(place, work, out, first)
    if again is not None and again.status:
        faults.append(f"does not go on ({again.status}): {again.last}")
    else:
        faults.append(work.fault(place, out))
    return Attempt(f"{number.name} to {work.name}", f"after {after:.2f} s", first.line, all_faults(faults))


def _go_on(place: Place, work: Work, out: Path, first: Answer) -> Answer | None:
    """Go on, or start again if it had not begun; None if nothing is left."""
    exported = (out / "train.parquet").exists()  # an export is whole or not there, even if the signal came after it
    if exported or (first.status == 0 and out.exists()):
        return None
    begun = out.exists() and any(not path.name.startswith(".") for path in out.iterdir())
    return place.dp(*(work.again(out) if begun else work.into(out)))
