"""Every kind of file × {deleted, halved, byte flipped, emptied} × every command that reads it.

Survived: the command answers as from the whole folder, or names the file in one line.
"""

import itertools
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torture.attempt import Attempt, Place, run_fault, run_here, without_times
from torture.processes import Answer
from torture.works import Words, Work, works

Damage = Callable[[Path, random.Random], None]


def deleted(path: Path, draw: random.Random) -> None:
    """Delete the file."""
    path.unlink()


def halved(path: Path, draw: random.Random) -> None:
    """Cut off its second half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path, draw: random.Random) -> None:
    """Flip one bit of it."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def emptied(path: Path, draw: random.Random) -> None:
    """Leave it without a byte."""
    path.write_bytes(b"")


DAMAGES: tuple[Damage, ...] = (deleted, halved, flipped, emptied)
RUN_FILES = (
    "config.toml",
    "metrics.jsonl",
    "rounds.jsonl",
    "result.json",
    "learner/model.safetensors",
    "pool/*/*.arrow",
    "checkpoints/step-*/state.json",
    "checkpoints/step-*/learner.safetensors",
    "checkpoints/latest-*/state.json",
    "checkpoints/latest-*/learner.safetensors",
)
"""Kinds of file, as patterns below a run's folder; one file of each is drawn."""
CURVE_READERS = ("forecast", "figures")
"""The commands that read the curve which the branches of a run make."""
READ_IF_STOPPED = ("resume", "branch", "export", "review")  # the commands that also read a run which was stopped
CURVE_FILES = ("config.toml", "result.json", "branches/*/result.json", "branches/*/SHA256SUMS")
"""Those that they read."""
COMPARISON_FILES = ("comparison.csv", "runs.csv", "comparison.png", "SHA256SUMS", "runs/*/result.json")
COMPARISON_READERS = ("report", "doctor")
PARTIAL = ("branch", "sample")  # these do without a checkpoint, and branch without the end of the run
RESUMED = {
    "compare": ("*.*", "*/*/result.json", "*/*/config.toml"),
    "tune": ("trials.jsonl", "tuning.json", "best.*", "trials.csv"),
}
"""The files that --resume of a work reads."""
CACHE_FILES = ("*/*/depends.json", "*/*/*.safetensors")
RUN_AGAIN: Words = ("real", "run")
CACHE_READERS: tuple[Words, ...] = (("doctor", "cache"), RUN_AGAIN)


def readers(out: Path) -> dict[str, Callable[[Path], Words]]:
    """The commands that read a run's folder. out: where they may write."""
    return {
        "resume": lambda run: ("real", "resume", run, "--json"),
        "report": lambda run: ("real", "report", run, "--out", out.with_suffix(".html"), "--json"),
        "export": lambda run: ("real", "export", run, "--out", out, "--format", "parquet", "--json"),
        "review": lambda run: ("real", "review", run, "--out", out.with_suffix(".html"), "--json"),
        "evaluate": lambda run: ("real", "evaluate", run, "--json"),
        "sample": lambda run: ("real", "sample", run, "--along", "--classes", "3", "--out", out, "--json"),
        "branch": lambda run: ("real", "branch", run, "--json"),
        "doctor": lambda run: ("doctor", run),
        "forecast": lambda run: ("theory", "forecast", run, "--target", 0.1, "--json"),
        "figures": lambda run: ("figures", "compare", run, "--out", out),
    }


class RunCase(NamedTuple):
    """Damage to a file of a run, which a command then reads."""

    whole: bool
    pattern: str
    damage: Damage
    command: str


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """Try `tries` of all combinations, at random; 0: all."""
    runs = [case for case in _run_cases() if not only or case.command in only]
    caches = list(itertools.product(CACHE_FILES, DAMAGES, CACHE_READERS))
    if tries:
        runs = draw.sample(runs, max(1, tries - tries // 5))
        caches = draw.sample(caches, tries // 5)
    yield from _attack_runs(place, runs, draw)
    if not only:
        yield from _attack_comparison(place, tries, draw)
    for pattern, damage, words in caches:
        yield _attack_cache(place, pattern, damage, words, draw)
    if not only:
        for name, patterns in RESUMED.items():
            yield from _attack_resumed(place, works(place)[name], patterns, tries, draw)


def _run_cases() -> list[RunCase]:
    kinds = [(True, command) for command in readers(Path())] + [(False, command) for command in READ_IF_STOPPED]
    return [
        RunCase(whole, pattern, damage, command)
        for whole, command in kinds
        for pattern, damage in itertools.product(CURVE_FILES if command in CURVE_READERS else RUN_FILES, DAMAGES)
    ]


def _attack_runs(place: Place, cases: list[RunCase], draw: random.Random) -> Iterator[Attempt]:
    healthy: dict[tuple[bool, str], Any] = {}  # what each command tells of a run that nothing happened to
    for case in cases:
        source = place.stopped
        if case.whole:
            source = place.branched if case.command in CURVE_READERS else place.whole
        kind = case.whole, case.command
        if kind not in healthy:
            _, healthy[kind] = _read(place, place.copy(source), case.command)
        run = place.copy(source)
        found = sorted(run.glob(case.pattern))
        if found:
            file = draw.choice(found)
            case.damage(file, draw)
            answer, told = _read(place, run, case.command)
            named = str(file.parent) in answer.err or str(run / "pool") in answer.err
            fault = _run_fault(place, run, case, answer, named=named, same=told == healthy[kind])
            what = f"{file.relative_to(run)} {case.damage.__name__}"
            yield Attempt(f"damage, {case.command}", what, answer.line, fault)
            shutil.rmtree(run)


def _read(place: Place, run: Path, command: str) -> tuple[Answer, Any]:
    """The answer, and what it told and wrote (None if it failed); not what a report tells, which is times."""
    out = place.new("out")
    words = readers(out)[command](run)
    answer = run_here(place, *words)
    if answer.status:
        return answer, None
    text = answer.out.replace(str(out), "OUT").replace(str(run), "RUN")
    told = json.loads(text) if "--json" in words else {"text": text}
    told.pop("out", None)
    written = sorted((*out.glob("*.parquet"), *out.glob("*.png")))
    contents = [hash(file.read_bytes()) for file in written]
    return answer, (None if command == "report" else without_times(told), contents)


def _run_fault(place: Place, run: Path, case: RunCase, answer: Answer, *, named: bool, same: bool) -> str:
    """`named` is whether the answer names the file, `same` whether it is that from the whole run."""
    fault = _fault(answer, named, case.command)
    if fault is not None:
        return fault
    if not same and not (named and case.command in PARTIAL):
        return "another answer, and status 0"
    if case.command == "resume" and not case.whole:  # a whole run is left as it is
        return run_fault(place, run)
    return ""


def _fault(answer: Answer, named: bool, command: str = "") -> str | None:
    """What is wrong with an answer about a damaged file; None: it succeeded, and what it made is to be judged.

    The doctor has a line for each finding, where others have one in all.
    """
    tidy = answer.tidy or (command == "doctor" and "Traceback" not in answer.err)
    if not tidy or answer.status not in (0, 2, 3):
        return f"status {answer.status}: {answer.last}"
    if answer.status:
        return "" if named else f"no file is named: {answer.last}"
    return None


def _harmed(
    place: Place, whole: Path, patterns: tuple[str, ...], tries: int, draw: random.Random
) -> Iterator[tuple[Path, Path, str]]:
    """Copies of a folder, a file that is damaged in each, and how."""
    cases = list(itertools.product(patterns, DAMAGES))
    for pattern, damage in draw.sample(cases, min(tries or len(cases), len(cases))):
        out = place.copy(whole)
        file = draw.choice(sorted(out.glob(pattern)))
        damage(file, draw)
        yield out, file, f"{file.relative_to(out)} {damage.__name__}"
        shutil.rmtree(out)


def _attack_comparison(place: Place, tries: int, draw: random.Random) -> Iterator[Attempt]:
    whole = place.new("comparison")
    place.dp(*works(place)["compare"].into(whole))
    for command in COMPARISON_READERS:
        _, healthy = _read(place, place.copy(whole), command)
        for out, file, what in _harmed(place, whole, COMPARISON_FILES, tries, draw):
            answer, told = _read(place, out, command)
            fault = _fault(answer, str(file.parent) in answer.err, command)
            if fault is None:
                fault = "" if told == healthy else "another answer, and status 0"
            yield Attempt(f"damage, {command} of a comparison", what, answer.line, fault)


def _attack_resumed(
    place: Place, work: Work, patterns: tuple[str, ...], tries: int, draw: random.Random
) -> Iterator[Attempt]:
    whole = place.new(work.name)
    place.dp(*work.into(whole))
    for out, _, what in _harmed(place, whole, patterns, tries, draw):
        answer = run_here(place, *_by_one_worker(work.again(out)))
        fault = _fault(answer, str(out) in answer.err)
        fault = work.fault(place, out) if fault is None else fault
        yield Attempt(f"damage, {work.name} --resume", what, answer.line, fault)


def _by_one_worker(words: Words) -> Words:
    """Several workers take seconds to start."""
    before = words.index("--workers")
    return *words[:before], "--workers", 1, *words[before + 2 :]


def _attack_cache(place: Place, pattern: str, damage: Damage, words: Words, draw: random.Random) -> Attempt:
    healthy = place.whole  # the run fills the cache
    cache = place.path / "cache"
    kept = place.copy(cache)
    file = draw.choice(sorted(cache.glob(f"deliberate-practice/{pattern}")))
    fault = ""
    try:
        damage(file, draw)
        if words == RUN_AGAIN:
            out = place.new("run")
            answer = place.dp(*RUN_AGAIN, healthy / "config.toml", "--out", out)  # a process that verifies anew
            if answer.status == 0:
                fault = run_fault(place, out)
        else:
            answer = run_here(place, *words)
        if "Traceback" in answer.err or answer.status not in (0, 2, 3):
            fault = f"status {answer.status}: {answer.last}"
        what = f"{file.relative_to(cache)} {damage.__name__}"
        return Attempt(f"damage, {' '.join(map(str, words))}", what, answer.line, fault)
    finally:
        shutil.rmtree(cache)
        kept.rename(cache)
