"""Nonsense from hypothesis: command lines and configurations.

Survived: status 0, 2, 3 or 130 within 10 s, one line on stderr if it is not 0, and no partial output.
"""

import random
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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


class Trial(NamedTuple):
    """How `dp` answered, and what must not be there if it failed."""

    answer: Answer
    output: Path | None = None


def _try_command_line(place: Place, words: list[str]) -> Trial:
    out = place.new("fuzz")
    takes_out = words[:2] in (["theory", "sweep"], ["real", "sample"], ["real", "export"])
    if takes_out and "--out" not in words:
        return Trial(run_here(place, *words, "--out", out), out)
    return Trial(run_here(place, *words), out)


def _try_configuration(place: Place, text: str) -> Trial:
    file = place.path / "fuzz.toml"
    file.write_text(text, encoding="utf-8")
    return Trial(run_here(place, "real", "plan", file, "--json"))


def attack(
    place: Place, tries: int, draw: random.Random, huge: bool = True, only: tuple[str, ...] = ()
) -> Iterator[Attempt]:
    """Try `tries` cases, half of them each; if `huge`, with sizes that no machine has."""
    targets: dict[str, tuple[SearchStrategy[Any], Callable[[Place, Any], Trial]]] = {
        "command line": (command_lines(huge), _try_command_line),
        "configuration": (configurations(), _try_configuration),
    }
    for name in only or targets:
        yield from _tried(place, name, *targets[name], max(1, tries // len(only or targets)), draw.randrange(2**32))


def _tried(
    place: Place,
    name: str,
    cases: SearchStrategy[Any],
    try_case: Callable[[Place, Any], Trial],
    count: int,
    start: int,
) -> list[Attempt]:
    """The same `start` tries the same cases."""
    found: list[Attempt] = []
    once = settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=ALL_CHECKS,
        phases=[Phase.generate],
    )

    @seed(start)
    @once
    @given(cases)
    def attempt(case: Any) -> None:
        trial = try_case(place, case)
        found.append(Attempt(f"fuzz, {name}", repr(case)[:300], trial.answer.line, _fault(trial)))

    attempt()
    return found


def _fault(trial: Trial) -> str:
    answer = trial.answer
    faults = []
    if answer.status not in (0, 2, 3, 130) or "Traceback" in answer.err:
        faults.append(f"status {answer.status}: {answer.last}")
    elif answer.status in (2, 3) and "Usage" not in answer.out and len(answer.messages) > 1:
        faults.append(f"{len(answer.messages)} lines: {answer.last}")
    if answer.seconds > LIMIT:
        faults.append(f"took {answer.seconds:.0f} s")
    if answer.status and trial.output is not None and trial.output.exists():
        faults.append(f"leaves {trial.output.name}")
    return "; ".join(faults)
