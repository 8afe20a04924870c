"""Options that several theory commands share, and what their text means."""

import re
from typing import Annotated, Any

import typer

from dp_base.errors import InputError

MOST_WORKERS = 1024
MOST_VALUES = 100_000  # of start:stop:count
Engine = Annotated[str, typer.Option(help="dense (the naive experiment) or law (its exact law, fast).")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")]
Workers = Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Processes.")]
WorkersOrAll = Annotated[int | None, typer.Option(min=1, max=MOST_WORKERS, help="Processes; by default one per core.")]
DirectCost = Annotated[float, typer.Option(help="Cost of a directly drawn sample; a plain one costs 1.")]
TrainingCost = Annotated[float, typer.Option(help="Cost of a training row in the same unit.")]
VALUES = "value, comma list or start:stop:count"


def values(name: str, text: str, geometric: bool = False) -> list[float]:
    """Numbers of '0.5', '0.1,0.5' or 'start:stop:count' (both ends included; even steps, or even ratios)."""
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
    return (np.geomspace if geometric else np.linspace)(start, stop, int(count)).tolist()


def grid(texts: dict[str, str | None], geometric: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """Every combination of the values of options, by name, and which options have several values.

    Texts as in `values`, those that are None are left out. The values are floats if there is one combination, else
    arrays with an axis per option.
    """
    import numpy as np

    lists = {name: values(name, text, name in geometric) for name, text in texts.items() if text is not None}
    varied = [name for name, numbers in lists.items() if len(numbers) > 1]
    if not varied:
        return {name: numbers[0] for name, numbers in lists.items()}, varied
    return dict(zip(lists, np.meshgrid(*lists.values(), indexing="ij"), strict=True)), varied


def those_given(**options: Any) -> dict[str, Any]:
    """The options that were given: those that are None are left out."""
    return {name: value for name, value in options.items() if value is not None}


def cores() -> int:
    """How many processes --workers is by default."""
    import joblib

    return joblib.cpu_count()
