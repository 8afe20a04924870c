"""The tables that the paper reports, as files; the head comments of each state its columns."""

import csv
from importlib import resources
from pathlib import Path

TableRow = dict[str, str]


def table_path(number: int) -> Path:
    """The file of Table `number`, 1 to 5."""
    return Path(str(resources.files("experiments.reported") / f"table{number}.csv"))


def table_rows(number: int) -> list[TableRow]:
    """Its rows, as they are written."""
    lines = table_path(number).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))
