"""Options that several theory commands share, and what their texts mean."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dp_base.errors import InputError
from dp_experiments.terminal import say

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_WORKERS = 1024
MOST_VALUES = 100_000  # of start:stop:count
VALUES = "VALUES"  # how help pages call a text that `values` reads

Engine = Annotated[
    str, typer.Option(help="How rows are simulated: dense (the naive experiment), or law (its exact law, fast).")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")]
Workers = Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Processes.")]
WorkersOrAll = Annotated[
    int | None, typer.Option(min=1, max=MOST_WORKERS, help="Processes.  Default: one for each core.")
]
GRAMMAR = "A rule's parameters follow it, as in entropy@omega=4@kappa=2."
Flip = Annotated[float, typer.Option(help="Probability that a label is flipped.")]


MOST_MINUTES = 60.0
MostMinutes = Annotated[float, typer.Option(help="Refuse work that would take longer, by an estimate.")]


def allow_work(seconds: float, remedy: str, most_minutes: float = MOST_MINUTES) -> None:
    """Say beforehand how long work takes, or refuse it; the estimate `seconds` may be off by a few times."""
    minutes = seconds / 60
    length = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:,.0f} hours"
    if minutes > most_minutes:
        raise InputError(f"this would take about {length}: {remedy}")
    if minutes >= 1:
        say(f"this takes about {length}")


def several(text: str) -> Any:
    """An option that `values` reads; its command's docstring explains VALUES."""
    return typer.Option(metavar=VALUES, help=text)


def ridge(rows: str, further: str = "", metavar: str | None = None) -> Any:
    """The option --lam, of which commands differ in the rows that count as N."""
    text = f"Ridge lam of (1/N) sum of losses + (lam/2)|w|², N: {rows}; 0: the limit without ridge.{further}"
    return typer.Option(metavar=metavar, help=text)


def write_tables(out: Path, **tables: "DataFrame | None") -> None:
    """Write NAME.csv into a folder for each table that is not None."""
    from dp_base.files import write_text

    for name, table in tables.items():
        if table is not None:
            write_text(out / f"{name}.csv", table.to_csv(index=False))


def written(out: Path | None) -> list[Path]:
    """The files in --out, if it was given."""
    return [] if out is None else sorted(out.iterdir())


def folder_option(files: str) -> Any:
    """The option --out of a command that writes these files."""
    return typer.Option(help=f"New or empty folder for {files}.")


def values(name: str, text: str, geometric: bool = False) -> list[float]:
    """'0.5', '0.1,0.5' or 'start:stop:count' with both ends, in equal steps or, if `geometric`, ratios."""
    import numpy as np

    parts = re.split("[:,]", text)
    try:
        numbers = [float(part) for part in parts]
        if ":" not in text:
            return numbers
        start, stop, count = numbers
        if "," in text or count != int(count) or not 1 <= count <= MOST_VALUES:
            raise ValueError
    except (ValueError, OverflowError):
        form = f"a value, a comma list or start:stop:count, of at most {MOST_VALUES} values"
        raise InputError(f"--{name} '{text}' is malformed: {form}") from None
    if geometric and not (start > 0 and stop > 0):
        raise InputError(f"--{name} '{text}' must start and stop above 0: its steps are equal ratios")
    space = np.geomspace if geometric else np.linspace
    return space(start, stop, int(count)).tolist()


class OptionGrid(NamedTuple):
    """Every combination of the values of some options."""

    values: dict[str, Any]  # by option: a float if there is one combination, else an array with an axis per option
    varied: list[str]  # the options that have several values


def grid(texts: Mapping[str, str | None], geometric: Collection[str], of_rule: Collection[str] = ()) -> OptionGrid:
    """geometric: the options whose steps have equal ratios. of_rule: those that stand in --rule."""
    import numpy as np

    given = those_given(**texts)
    lists = {name: values("rule" if name in of_rule else name, text, name in geometric) for name, text in given.items()}
    varied = [name for name, numbers in lists.items() if len(numbers) > 1]
    if not varied:
        return OptionGrid({name: numbers[0] for name, numbers in lists.items()}, varied)
    axes = np.meshgrid(*lists.values(), indexing="ij")
    return OptionGrid(dict(zip(lists, axes, strict=True)), varied)


def those_given(**options: Any) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def names(text: str) -> list[str]:
    """The names of a comma list."""
    return [name.strip() for name in text.split(",")]


def named_numbers(option: str, entries: list[str]) -> dict[str, float]:
    """The numbers by name of NAME=VALUE."""
    names_given = [entry.partition("=")[0] for entry in entries]
    twice = [name for name in names_given if names_given.count(name) > 1]
    if twice:
        raise InputError(f"{option} {twice[0]} is given {names_given.count(twice[0])} times: give it once")
    try:
        return {name: float(value) for name, _, value in (entry.partition("=") for entry in entries)}
    except ValueError:
        raise InputError(f"{option} {' '.join(entries)} must read NAME=VALUE, VALUE a number") from None


def cores() -> int:
    """How many processes --workers is by default."""
    import joblib

    return joblib.cpu_count()
