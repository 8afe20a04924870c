"""Nonsense from hypothesis: command lines, configurations, logs, journals, and folders of images.

Survived: status 0, 2, 3 or 130 within 10 s, one line on stderr if it is not 0, and no partial output.
"""

import io
import json
import random
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from typer.main import get_command

from torture.attempt import SMALL, Answer, Attempt, Place, here

LIMIT = 10.0  # seconds
QUIET: Any = list(HealthCheck)  # cases may be slow or rare
CHEAP = ("theory predict", "theory simulate", "theory practice", "theory optimum", "theory sweep", "theory derive",
         "real init", "real plan", "real presets", "real cache", "real report", "real export", "real resume",
         "real evaluate", "real sample", "doctor", "")  # fmt: skip
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
ODD = st.sampled_from(["", " ", "nan", "inf", "-inf", "-1", "0", "1", "2", "0.5", "1e-300", "x", "1:2:3", "0.1,0.2",
                       "a=b", "practice.additions=-1", "training.steps=nan", "guidance.omega=inf", "--", "../..",
                       "digits"])  # fmt: skip
HUGE = st.sampled_from(["1e308", "1e18", str(2**63), str(-(2**63)), "9" * 300, "n" * 300, "a\nb"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(), TEXT, st.lists(st.integers(-1, 3), max_size=3)
)
# Options that would begin long or lasting work, however right they are.
LONG = ("--measure", "--dask", "--workers", "--yes", "--along", "--d", "--trials", "--rounds", "--n")


def command_lines(huge: bool) -> st.SearchStrategy[list[str]]:
    """Words of a command: real sub-commands and options, with values that fit or do not."""
    from experiments.cli.commands import app

    value = st.one_of(ODD, TEXT, *([HUGE] if huge else []))

    def words(path: str) -> st.SearchStrategy[list[str]]:
        command: Any = get_command(app)
        for part in path.split():
            command = command.commands[part]
        named = [
            name
            for each in command.params
            for name in each.opts
            if name.startswith("--") and (huge or name not in LONG)
        ]
        option = st.tuples(st.sampled_from([*named, "--unknown"]), value).map(list)
        many = st.lists(st.one_of(option, value.map(lambda text: [text])), max_size=4)
        return many.map(lambda parts: [*path.split(), *(word for part in parts for word in part)])

    return st.sampled_from(CHEAP).flatmap(words)


def configurations() -> st.SearchStrategy[str]:
    """A valid configuration with a few keys changed, removed or added, as TOML; or cut short, or no TOML at all."""
    from experiments.presets.presets import load_preset

    whole = tomllib.loads(load_preset("digits", list(SMALL[2::2])).to_toml())
    keys = [(section, key) for section, table in whole.items() if isinstance(table, dict) for key in table]

    def changed(changes: list[tuple[tuple[str, str], bool, Any]]) -> str:
        config = {name: dict(part) if isinstance(part, dict) else part for name, part in whole.items()}
        for (section, key), remove, value in changes:
            if remove or value is None:
                config[section].pop(key, None)
            else:
                config[section][key] = value
        return tomli_w.dumps(config)

    change = st.tuples(
        st.sampled_from([*keys, ("training", "unknown"), ("task", "classes")][:-1]), st.booleans(), SCALARS
    )
    mutated = st.lists(change, min_size=1, max_size=3).map(changed)
    cut = st.integers(0, 400).map(lambda length: tomli_w.dumps(whole)[:length])
    return st.one_of(mutated, cut, TEXT)


def logs() -> st.SearchStrategy[str]:
    """Lines of a JSONL file, most of which are none."""
    line = st.one_of(TEXT, SCALARS.map(json.dumps), st.dictionaries(TEXT, SCALARS, max_size=3).map(json.dumps))
    return st.lists(line, max_size=4).map("\n".join)


def image_folders() -> st.SearchStrategy[list[tuple[str, str, bytes]]]:
    """Files of a data set: folder, name and content."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 100).save(buffer, "PNG")
    png = buffer.getvalue()
    content = st.one_of(st.just(png), st.integers(0, len(png)).map(lambda n: png[:n]), st.binary(max_size=40))
    folder = st.sampled_from(["3", "7", "who?", "a:b", "<b>", "$x", "99", ".hidden", "é"])
    return st.lists(st.tuples(folder, st.sampled_from(["0.png", "1.jpg", "x.txt", "2.PNG"]), content), max_size=4)


def _run_line(place: Place, words: list[str]) -> tuple[Answer, Path | None]:
    out = place.new("fuzz")
    takes_out = "--out" not in words and words[:2] in (["theory", "sweep"], ["real", "sample"], ["real", "export"])
    return here(place, *words, *(("--out", out) if takes_out else ())), out


def _run_configuration(place: Place, text: str) -> tuple[Answer, Path | None]:
    file = place.path / "fuzz.toml"
    file.write_text(text, encoding="utf-8")
    return here(place, "real", "plan", file, "--json"), None


def _run_log(place: Place, text: str) -> tuple[Answer, Path | None]:
    run = place.copy(place.whole)
    (run / ("metrics.jsonl" if len(text) % 2 else "rounds.jsonl")).write_text(text, encoding="utf-8")
    answer = here(place, "real", "report", run, "--out", run / "new.html")
    left = run / "new.html"
    kept = left if left.exists() else None
    if answer.status == 0:
        shutil.rmtree(run)
    return answer, kept


def _run_journal(place: Place, text: str) -> tuple[Answer, Path | None]:
    out = place.new("sweep")
    out.mkdir()
    (out / "cells.jsonl").write_text(text, encoding="utf-8")
    return here(place, "theory", "sweep", "--d", 8, "--n", 8, "--rule", "keep-hard", "--trials", 2, "--workers", 1,
                "--resume", "--out", out), None  # fmt: skip


def _run_images(place: Place, files: list[tuple[str, str, bytes]]) -> tuple[Answer, Path | None]:
    root = place.new("set")
    root.mkdir()
    for folder, name, content in files:
        (root / folder).mkdir(exist_ok=True)
        (root / folder / name).write_bytes(content)
    return here(place, "real", "evaluate", place.whole, "--on", f"mine={root}", "--json"), None


Execute = Callable[[Place, Any], tuple[Answer, Path | None]]
"""Tries a case: how `dp` answered, and what must not be there if it failed."""

TARGETS: dict[str, tuple[Callable[[bool], st.SearchStrategy[Any]], Execute, int]] = {
    "command line": (command_lines, _run_line, 4),
    "configuration": (lambda huge: configurations(), _run_configuration, 3),
    "log": (lambda huge: logs(), _run_log, 1),
    "journal": (lambda huge: logs(), _run_journal, 1),
    "images": (lambda huge: image_folders(), _run_images, 1),
}  # with the share of the cases, in tenths


def attack(
    place: Place, tries: int, draw: random.Random, huge: bool = True, only: tuple[str, ...] = ()
) -> Iterator[Attempt]:
    """`tries` cases, spread over the targets. huge: also sizes that no machine has. only: these targets."""
    chosen = {name: target for name, target in TARGETS.items() if not only or name in only}
    parts = sum(share for _, _, share in chosen.values())
    for name, (strategy, execute, share) in chosen.items():
        yield from _tried(place, name, strategy(huge), execute, max(1, tries * share // parts), draw.randrange(2**32))


def _tried(
    place: Place, name: str, cases: st.SearchStrategy[Any], execute: Execute, count: int, start: int
) -> list[Attempt]:
    found: list[Attempt] = []

    @seed(start)
    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=QUIET,
              phases=[Phase.generate])  # fmt: skip
    @given(cases)
    def attempt(case: Any) -> None:
        answer, left = execute(place, case)
        found.append(Attempt(f"fuzz, {name}", repr(case)[:300], f"{answer.status} {answer.last}", _fault(answer, left)))

    attempt()
    return found


def _fault(answer: Answer, left: Path | None) -> str:
    faults = []
    if answer.status not in (0, 2, 3, 130) or "Traceback" in answer.err:
        faults.append(f"status {answer.status}: {answer.last}")
    elif answer.status in (2, 3) and "Usage" not in answer.out and len(_lines(answer)) > 1:
        faults.append(f"{len(_lines(answer))} lines: {answer.last}")
    if answer.seconds > LIMIT:
        faults.append(f"took {answer.seconds:.0f} s")
    if answer.status and left is not None and left.exists():
        faults.append(f"leaves {left.name}")
    return "; ".join(faults)


def _lines(answer: Answer) -> list[str]:
    return [line for line in answer.err.splitlines() if line.startswith("dp:")]
