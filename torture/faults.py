"""Faults inside: nan where numbers are born, no memory, a broken disk, a thread that dies.

Survived: one line says what happened, and without the fault the run goes on to its usual result.
"""

import random
from collections.abc import Iterator

from torture.attempt import MAIN, ON_DISK, SMALL, Attempt, Place, all_faults, run_fault

FAIL_AT = """
import functools
def fail_at(owner, name, call, effect):
    true, calls = getattr(owner, name), []
    @functools.wraps(true)
    def replaced(*arguments, **options):
        calls.append(1)
        return effect(true, *arguments, **options) if len(calls) == call else true(*arguments, **options)
    setattr(owner, name, replaced)
def no_memory(*arguments, **options):
    raise MemoryError("injected")
def broken(*arguments, **options):
    raise OSError(5, "Input/output error")
def times_nan(true, *arguments, **options):
    return true(*arguments, **options) * float("nan")
"""
"""Code that lets the n-th call of a function have another effect, run in the process of `dp` before its main."""
FAULTS = {
    "nan loss": """
import torch.nn.functional as F
fail_at(F, "cross_entropy", {call}, times_nan)
""",
    "nan samples": """
from dp_real.generators.models import denoiser
import torch
fail_at(torch.nn.Module, "__call__", 20 * {call}, times_nan)
""",
    "no memory in training": """
from dp_real.learners.models.network import NetworkLearner
fail_at(NetworkLearner, "train_step", {call}, no_memory)
""",
    "no memory in a round": """
from dp_real.pool import Pool
fail_at(Pool, "append", {call} % 3 + 1, no_memory)
""",
    "a disk error at a checkpoint": """
from dp_real.runs.folder import RunFolder
fail_at(RunFolder, "checkpoint", {call} % 5 + 1, broken)
""",
    "a loader thread that dies": """
from dp_real.pool import Pool
fail_at(Pool, "_read", {call}, broken)
""",
}
"""Where each fault strikes, given the number of the call."""


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """Try `tries` faults in turn, at random calls."""
    names = only or tuple(FAULTS)
    for index in range(tries):
        name = names[index % len(names)]
        yield _fault(place, name, draw.randrange(2, 25))


def _fault(place: Place, name: str, call: int) -> Attempt:
    out = place.new("run")
    reads_disk = "thread" in name
    words = ("real", "run", *SMALL, *(ON_DISK if reads_disk else ()), "--out", out)
    sound = place.on_disk if reads_disk else place.whole
    answer = place.dp(*words, code=f"{FAIL_AT}\n{FAULTS[name].format(call=call)}\n{MAIN}")
    faults = []
    if not answer.tidy or answer.status not in (0, 1, 2, 3):
        faults.append(f"status {answer.status}: {answer.last}")
    if answer.status == 0 and run_fault(place, out, sound):  # none if what failed was only the counting of FLOPs
        faults.append(f"passed in silence: {run_fault(place, out, sound)}")
    if answer.status:
        began = (out / "config.toml").exists()
        again = place.dp("real", "resume", out) if began else place.dp(*words)
        faults.append(f"does not go on: {again.last}" if again.status else run_fault(place, out, sound))
    return Attempt(f"fault, {name}", f"call {call}", answer.line, all_faults(faults))
