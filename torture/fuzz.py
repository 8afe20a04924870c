"""Nonsense from hypothesis: command lines and configurations.

Survived: status 0, 2, 3 or 130 within 10 s, one line on stderr if it is not 0, and no partial output.
"""

import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from torture.attempt import SMALL, Attempt, Place, run_here
from torture.processes import Answer

LIMIT = 10.0  # seconds of the processor
ALL_CHECKS: Any = list(HealthCheck)  # of hypothesis; suppressed, since cases may be slow or rare
CHEAP = (
    "theory predict",
    "theory simulate",
    "theory practice",
    "theory best",
    "theory sweep",
    "real init",
    "real plan",
    "real keys",
    "real report",
    "real export",
    "real review",
    "real resume",
    "real evaluate",
    "real sample",
    "doctor",
    "",
)
"""The commands that end soon."""
TAKE_OUT = (["theory", "sweep"], ["real", "sample"], ["real", "export"])
ODD_VALUES = (
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1",
    "2",
    "0.5",
    "1e-300",
    "x",
    "1:2:3",
    "0.1,0.2",
    "a=b",
    "practice.additions=-1",
    "training.steps=nan",
    "guidance.omega=inf",
    "--",
    "../..",
    "digits",
)
HUGE_VALUES = ("1e308", "1e18", str(2**63), str(-(2**63)), "9" * 300, "n" * 300, "a\nb")
LONG = ("--measure", "--dask", "--workers", "--clear", "--along", "--d", "--trials", "--rounds", "--n")
"""Options that would begin long or lasting work, however right their values are."""
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(),
    TEXT,
    st.lists(st.integers(-1, 3), max_size=3),
)


def command_lines(huge: bool) -> SearchStrategy[list[str]]:
    """Real sub-commands and options, with values that fit or do not; if `huge`, that no machine can serve."""
    value = st.one_of(st.sampled_from(ODD_VALUES), TEXT, *([st.sampled_from(HUGE_VALUES)] if huge else []))

    def lines_of(command: str) -> SearchStrategy[list[str]]:
        options = [name for name in _options_of(command) if huge or name not in LONG]
        option = st.tuples(st.sampled_from([*options, "--unknown"]), value).map(list)
        argument = value.map(lambda text: [text])
        parts = st.lists(st.one_of(option, argument), max_size=4)
        return parts.map(lambda lists: [*command.split(), *(word for words in lists for word in words)])

    return st.sampled_from(CHEAP).flatmap(lines_of)


def _options_of(command: str) -> list[str]:
    from dp_experiments.cli.commands import root

    found: Any = root
    for part in command.split():
        found = found.commands[part]
    return [name for each in found.params for name in each.opts if name.startswith("--")]


def configurations() -> SearchStrategy[str]:
    """A valid configuration with keys changed, removed or added; or cut short, or no TOML."""
    from dp_experiments.presets.presets import load_preset

    valid = tomllib.loads(load_preset("digits", list(SMALL[2::2])).to_toml())
    keys = [(section, key) for section, table in valid.items() if isinstance(table, dict) for key in table]

    def changed(changes: list[tuple[tuple[str, str], bool, Any]]) -> str:
        config = {name: dict(part) if isinstance(part, dict) else part for name, part in valid.items()}
        for (section, key), remove, value in changes:
            if remove or value is None:
                config[section].pop(key, None)
            else:
                config[section][key] = value
        return tomli_w.dumps(config)

    change = st.tuples(st.sampled_from([*keys, ("training", "unknown")]), st.booleans(), SCALARS)
    mutated = st.lists(change, min_size=1, max_size=3).map(changed)
    cut = st.integers(0, 400).map(lambda length: tomli_w.dumps(valid)[:length])
    return st.one_of(mutated, cut, TEXT)


def attack(
    place: Place, tries: int, draw: random.Random, huge: bool = True, only: tuple[str, ...] = ()
) -> Iterator[Attempt]:
    """Try `tries` cases, half of them each; if `huge`, with sizes that no machine has."""
    targets: dict[str, SearchStrategy[Any]] = {"command line": command_lines(huge), "configuration": configurations()}
    for name in only or targets:
        yield from _tried(place, name, targets[name], max(1, tries // len(only or targets)), draw.randrange(2**32))


def _tried(place: Place, name: str, cases: SearchStrategy[Any], count: int, start: int) -> list[Attempt]:
    """The same `start` tries the same cases."""
    found: list[Attempt] = []

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=ALL_CHECKS,
        phases=[Phase.generate],
    )
    @given(cases)
    def attempt(case: list[str] | str) -> None:
        out = place.new("fuzz")
        if isinstance(case, str):
            file = place.path / "fuzz.toml"
            file.write_text(case, encoding="utf-8")
            words: list[object] = ["real", "plan", file, "--json"]
        else:
            words = [*case]
            if case[:2] in TAKE_OUT and "--out" not in case:
                words += ["--out", out]
        answer = run_here(place, *words)
        found.append(Attempt(f"fuzz, {name}", repr(case)[:300], answer.line, _fault(answer, out)))

    attempt()
    return found


def _fault(answer: Answer, out: Path) -> str:
    faults = []
    if answer.status not in (0, 2, 3, 130) or "Traceback" in answer.err:
        faults.append(f"status {answer.status}: {answer.last}")
    elif answer.status in (2, 3) and "Usage" not in answer.out and len(answer.messages) > 1:
        faults.append(f"{len(answer.messages)} lines: {answer.last}")
    if answer.seconds > LIMIT:
        faults.append(f"took {answer.seconds:.0f} s")
    if answer.status and out.exists():
        faults.append(f"leaves {out.name}")
    return "; ".join(faults)
