"""Options that several theory commands share, and what their texts mean."""

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from dp_base.errors import InputError
from dp_experiments.cli.options import comma_list

if TYPE_CHECKING:
    from pandas import DataFrame

MAX_VALUES = 100_000  # of start:stop:count
MAX_CELLS = 1_000_000  # combinations of several options' values
POSITIVE = "above 0"  # where there is no limit without ridge
VALUES = "VALUES"  # how help pages call a text that `values` reads

Engine = Annotated[
    str, Option(help="How rows are simulated: dense (the naive experiment), or law (its exact law, fast).")
]
Seed = Annotated[int, Option(min=0, help="Seed of all random numbers.")]
GRAMMAR = "A rule's parameters follow it, as in entropy@"


def several(text: str) -> Any:
    """An option that `values` reads; its command's docstring explains VALUES."""
    return Option(metavar=VALUES, help=text)


def ridge(rows: str, further: str = "", metavar: str | None = None, least: str = "0: the limit without ridge") -> Any:
    """The option --lam, of which commands differ in the rows that count as N."""
    text = f"Ridge lam of (1/N) sum of losses, as (y - w·x)²/2, + (lam/2)|w|², N: {rows}; {least}.{further}"
    return Option(metavar=metavar, help=text)


def folder_option(files: str) -> Any:
    """The option --out of a command that writes these files."""
    return Option(help=f"New or empty folder for {files}.")


def write_tables(out: Path | None, **tables: "DataFrame") -> None:
    """Write NAME.csv for each table into --out, if it was given."""
    from dp_base.files import write_text

    for name, table in tables.items():
        if out is not None:
            write_text(out / f"{name}.csv", table.to_csv(index=False))


def written(out: Path | None) -> list[Path]:
    """The files in --out, if it was given."""
    return [] if out is None else sorted(out.iterdir())


def values(name: str, text: str, geometric: bool = False) -> list[float]:
    """'0.5', '0.1,0.5' or 'start:stop:count' with both ends, in equal steps or, if `geometric`, ratios."""
    import numpy as np

    try:
        numbers = [float(part) for part in re.split("[:,]", text)]
        if ":" not in text:
            return numbers
        start, stop, count = numbers
        if "," in text or count != int(count) or not 1 <= count <= MAX_VALUES or (count == 1 and start != stop):
            raise ValueError
    except (ValueError, OverflowError):
        form = f"a value, a comma list or start:stop:count, of 2 to {MAX_VALUES} values"
        raise InputError(f"{name} = {text}: must be {form}") from None
    if geometric and not (start > 0 and stop > 0):
        raise InputError(f"{name} = {text}: must start and stop above 0, since its steps are equal ratios")
    space = np.geomspace if geometric else np.linspace
    return space(start, stop, int(count)).tolist()


def whole_numbers(name: str, text: str) -> list[int]:
    """A comma list of them."""
    parts = comma_list(text)
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--{name} {text}: must be whole numbers, comma-separated")
    return [int(part) for part in parts]


def grid(texts: Mapping[str, str | None], geometric: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Every combination of the values of those options that are given, and the options that have several.

    Values are floats if there is one combination, else arrays with an axis an option. geometric: the options whose
    steps have equal ratios.
    """
    import numpy as np

    lists = {name: values(name, text, name in geometric) for name, text in texts.items() if text is not None}
    varied = [name for name, numbers in lists.items() if len(numbers) > 1]
    if not varied:
        return {name: numbers[0] for name, numbers in lists.items()}, varied
    cells = math.prod(map(len, lists.values()))
    if cells > MAX_CELLS:
        raise InputError(f"{' x '.join(varied)} are {cells:,} combinations: at most {MAX_CELLS:,}; give fewer values")
    axes = np.meshgrid(*lists.values(), indexing="ij")
    return dict(zip(lists, axes, strict=True)), varied


def cores() -> int:
    """How many processes share the work: one on each core that this one may use (LOKY_MAX_CPU_COUNT: fewer)."""
    import joblib

    return joblib.cpu_count()
