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
FILES = {
    "whole": RUN_FILES,
    "stopped": RUN_FILES,
    "branched": ("config.toml", "result.json", "branches/*/result.json", "branches/*/SHA256SUMS"),
    "compared": ("comparison.csv", "runs.csv", "comparison.png", "SHA256SUMS", "runs/*/result.json"),
}
"""Kinds of file in each healthy folder of a Place, as patterns below it; one file of each is drawn."""
CURVE_READERS = ("forecast", "figures")  # these read the curve which the branches of a run make
READERS = {"stopped": ("resume", "branch", "export", "review"), "compared": ("report", "doctor")}
PARTIAL = ("branch", "sample")  # these do without a checkpoint, and branch without the end of the run
RESUMED = {
    "compare": ("*.*", "*/*/result.json", "*/*/config.toml"),
    "tune": ("trials.jsonl", "tuning.json", "best.*", "trials.csv"),
}
"""The files that --resume of a work reads."""
CACHE_FILES = ("*/*/depends.json", "*/*/*.safetensors")
RUN_AGAIN: Words = ("real", "run")
CACHE_READERS: tuple[Words, ...] = (("doctor",), RUN_AGAIN)


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


class Case(NamedTuple):
    """A file of a healthy folder of a Place, what happens to it, and the command that reads the folder."""

    folder: str
    pattern: str
    damage: Damage
    command: str


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """Try `tries` of all combinations, at random; 0: all."""
    cases = [case for case in _cases() if not only or case.command in only]
    caches = list(itertools.product(CACHE_FILES, DAMAGES, CACHE_READERS))
    if tries:
        cases = draw.sample(cases, max(1, tries - tries // 5))
        caches = draw.sample(caches, tries // 5)
    yield from _attack_folders(place, cases, draw)
    for pattern, damage, words in caches:
        yield _attack_cache(place, pattern, damage, words, draw)
    if not only:
        for name, patterns in RESUMED.items():
            yield from _attack_resumed(place, works(place)[name], patterns, tries, draw)


def _cases() -> list[Case]:
    reading = [("branched" if command in CURVE_READERS else "whole", command) for command in readers(Path())]
    reading += [(folder, command) for folder, commands in READERS.items() for command in commands]
    return [
        Case(folder, pattern, damage, command)
        for folder, command in reading
        for pattern, damage in itertools.product(FILES[folder], DAMAGES)
    ]


def _attack_folders(place: Place, cases: list[Case], draw: random.Random) -> Iterator[Attempt]:
    healthy: dict[tuple[str, str], Any] = {}  # what each command tells of a folder that nothing happened to
    for case in cases:
        kind = case.folder, case.command
        if kind not in healthy:
            _, healthy[kind] = _read(place, place.copy(getattr(place, case.folder)), case.command)
        file = _harmed(place, getattr(place, case.folder), case.pattern, case.damage, draw)
        if file is not None:
            folder, damaged = file
            answer, printed = _read(place, folder, case.command)
            named = str(damaged.parent) in answer.err or str(folder / "pool") in answer.err
            fault = _fault(answer, named, case.command)
            if fault is None and printed != healthy[kind] and not (named and case.command in PARTIAL):
                fault = "another answer, and status 0"
            if fault is None and kind == ("stopped", "resume"):  # a whole run is left as it is
                fault = run_fault(place, folder)
            what = f"{damaged.relative_to(folder)} {case.damage.__name__}"
            yield Attempt(f"damage, {case.command} of {case.folder}", what, answer.line, fault or "")
            shutil.rmtree(folder)


def _harmed(place: Place, whole: Path, pattern: str, damage: Damage, draw: random.Random) -> tuple[Path, Path] | None:
    """A copy of a folder, and a file of this pattern that is damaged in it; None if there is none."""
    folder = place.copy(whole)
    found = sorted(folder.glob(pattern))
    if not found:
        return None
    file = draw.choice(found)
    damage(file, draw)
    return folder, file


def _read(place: Place, run: Path, command: str) -> tuple[Answer, Any]:
    """The answer, and what it printed and wrote (None if it failed), without a report's lines, which are times."""
    out = place.new("out")
    words = readers(out)[command](run)
    answer = run_here(place, *words)
    if answer.status:
        return answer, None
    text = answer.out.replace(str(out), "OUT").replace(str(run), "RUN")
    printed = json.loads(text) if "--json" in words else {"text": text}
    printed.pop("out", None)
    written = sorted((*out.glob("*.parquet"), *out.glob("*.png")))
    contents = [hash(file.read_bytes()) for file in written]
    return answer, (None if command == "report" else without_times(printed), contents)


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


def _attack_resumed(
    place: Place, work: Work, patterns: tuple[str, ...], tries: int, draw: random.Random
) -> Iterator[Attempt]:
    whole = place.new(work.name)
    place.dp(*work.into(whole))
    cases = list(itertools.product(patterns, DAMAGES))
    for pattern, damage in draw.sample(cases, min(tries or len(cases), len(cases))):
        harmed = _harmed(place, whole, pattern, damage, draw)
        assert harmed is not None, pattern
        out, file = harmed
        answer = run_here(place, *_by_one_worker(work.again(out)))
        fault = _fault(answer, str(out) in answer.err)
        fault = work.fault(place, out) if fault is None else fault
        yield Attempt(f"damage, {work.name} --resume", f"{file.name} {damage.__name__}", answer.line, fault)
        shutil.rmtree(out)


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
