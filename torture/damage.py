"""Every kind of file × {deleted, halved, byte flipped, emptied} × every command that reads it.

Survived: the command answers as it does from the whole folder, or says which file is wrong: in one line, or in a remark
if it can do without that file.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torture.attempt import Answer, Attempt, Place, here, run_fault, strip
from torture.kills import works

Words = tuple[object, ...]


def deleted(path: Path, draw: random.Random) -> None:
    """The file is gone."""
    path.unlink()


def halved(path: Path, draw: random.Random) -> None:
    """Its second half is missing."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path, draw: random.Random) -> None:
    """One bit of it is another."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def emptied(path: Path, draw: random.Random) -> None:
    """It has no bytes."""
    path.write_bytes(b"")


DAMAGES = (deleted, halved, flipped, emptied)
# Kinds of file, as patterns below a run's folder; a file of each is drawn.
RUN_FILES = (
    "config.toml", "metrics.jsonl", "rounds.jsonl", "result.json", "learner/model.safetensors", "pool/data/*",
    "pool/_versions/*.manifest", "pool/_transactions/*", "checkpoints/step-*/state.json",
    "checkpoints/step-*/learner.safetensors", "checkpoints/latest-*/state.json",
    "checkpoints/latest-*/learner.safetensors",
)  # fmt: skip
PARTIAL = ("branch", "sample")  # these do without a checkpoint, and branch without the end of the run
RESUMED = {
    "sweep": ("cells.jsonl", "*.csv"), "compare": ("*.*", "*/*/result.json", "*/*/config.toml"),
    "tune": ("study.db", "tuning.json", "best.*", "trials.csv"),
}  # fmt: skip
CACHE_FILES = ("*/*/depends.json", "*/*/*.safetensors")


def readers(out: Path) -> dict[str, Callable[[Path], Words]]:
    """The commands that read a run's folder. out: where they may write."""
    return {
        "resume": lambda run: ("real", "resume", run, "--json"),
        "report": lambda run: ("real", "report", run, "--out", out.with_suffix(".html"), "--json"),
        "export": lambda run: ("real", "export", run, "--out", out, "--format", "parquet", "--json"),
        "evaluate": lambda run: ("real", "evaluate", run, "--json"),
        "sample": lambda run: ("real", "sample", run, "--along", "--classes", "3", "--out", out, "--json"),
        "branch": lambda run: ("real", "branch", run, "--json"),
    }


def attack(place: Place, tries: int, draw: random.Random, only: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """`tries` of all combinations, drawn at random; 0: all. only: the commands that read runs, by default all."""
    commands = [(True, name) for name in readers(Path())] + [(False, name) for name in ("resume", "branch", "export")]
    cases = [(whole, pattern, damage, command) for whole, command in commands for pattern in RUN_FILES
             for damage in DAMAGES]  # fmt: skip
    cache = [(pattern, damage, command) for pattern in CACHE_FILES for damage in DAMAGES
             for command in (("real", "cache", "list"), ("doctor", "cache"), ("real", "run"))]  # fmt: skip
    cases = [case for case in cases if not only or case[-1] in only]
    if tries:
        cases, cache = draw.sample(cases, max(1, tries - tries // 5)), draw.sample(cache, tries // 5)
    healthy: dict[tuple[bool, str], Any] = {}
    for whole, pattern, damage, command in cases:
        source = place.whole if whole else place.stopped
        if (whole, command) not in healthy:
            healthy[whole, command] = _read(place, place.copy(source), command)[1]
        run = place.copy(source)
        found = sorted(run.glob(pattern))
        if found:
            file = draw.choice(found)
            damage(file, draw)
            yield _judge(place, run, file, damage.__name__, command, healthy[whole, command], whole)
            shutil.rmtree(run)
    for pattern, damage, words in cache:
        yield _attack_cache(place, pattern, damage, words, draw)
    if not only:
        yield from _attack_resumed(place, tries, draw)


def _read(place: Place, run: Path, command: str) -> tuple[Answer, Any]:
    """Run a command; its answer without times and paths, with the tables that it wrote."""
    out = place.new("out")
    answer = here(place, *readers(out)[command](run))
    if answer.status:
        return answer, None
    told = json.loads(answer.out.replace(str(out), "OUT").replace(str(run), "RUN"))
    told.pop("out", None)
    tables = [file.read_bytes() for file in sorted((*out.glob("*.parquet"), *out.glob("*.png")))]
    return answer, (strip(told) if command != "report" else None, [hash(table) for table in tables])


def _judge(place: Place, run: Path, file: Path, damage: str, command: str, healthy: Any, whole: bool) -> Attempt:
    answer, told = _read(place, run, command)
    fault, named = "", str(file.parent) in answer.err or str(run / "pool") in answer.err
    if not answer.tidy or answer.status not in (0, 2, 3):
        fault = f"status {answer.status}: {answer.last}"
    elif answer.status == 0 and told != healthy and not (named and command in PARTIAL):
        fault = "another answer, and status 0"
    elif answer.status == 0 and command == "resume" and not whole:  # a whole run is left as it is
        fault = run_fault(place, run)
    elif answer.status and not named:
        fault = f"no file is named: {answer.last}"
    return Attempt(f"damage, {command}", f"{file.relative_to(run)} {damage}", f"{answer.status} {answer.last}", fault)


def _attack_resumed(place: Place, tries: int, draw: random.Random) -> Iterator[Attempt]:
    """The files that `--resume` of a sweep and a comparison read; as many as `tries`, or all for 0."""
    for work in works(place):
        if work.name not in RESUMED:
            continue
        whole = place.new(work.name)
        place.dp(*work.words, "--out", whole)
        cases = [(pattern, damage) for pattern in RESUMED[work.name] for damage in DAMAGES]
        for pattern, damage in draw.sample(cases, min(tries or len(cases), len(cases))):
            out = place.copy(whole)
            file = draw.choice(sorted(out.glob(pattern)))
            damage(file, draw)
            answer = here(place, *work.again(out), "--workers", 1)  # here: workers take seconds to start
            fault = work.fault(place, out) if answer.status == 0 else ""
            if not answer.tidy or answer.status not in (0, 2, 3):
                fault = f"status {answer.status}: {answer.last}"
            elif answer.status and str(out) not in answer.err:
                fault = f"no file is named: {answer.last}"
            case = f"{file.relative_to(out)} {damage.__name__}"
            yield Attempt(f"damage, {work.name} --resume", case, f"{answer.status} {answer.last}", fault)
            shutil.rmtree(out)


def _attack_cache(place: Place, pattern: str, damage: Callable, words: Words, draw: random.Random) -> Attempt:
    healthy, cache = place.whole, place.path / "cache"  # the run fills the cache
    kept = place.copy(cache)
    file = draw.choice(sorted(cache.glob(f"deliberate-practice/{pattern}")))
    try:
        damage(file, draw)
        if words == ("real", "run"):
            out = place.new("run")
            answer = place.dp("real", "run", str(healthy / "config.toml"), "--out", out)  # a process that verifies anew
            fault = run_fault(place, out) if answer.status == 0 else ""
        else:
            answer, fault = here(place, *words), ""
        if "Traceback" in answer.err or answer.status not in (0, 2, 3):
            fault = f"status {answer.status}: {answer.last}"
        case = f"{file.relative_to(cache)} {damage.__name__}"
        return Attempt(f"damage, {' '.join(map(str, words))}", case, f"{answer.status} {answer.last}", fault)
    finally:
        shutil.rmtree(cache)
        kept.rename(cache)
