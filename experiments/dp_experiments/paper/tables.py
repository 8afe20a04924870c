"""The paper's tables, with columns for a user's own runs, in four formats."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dp_base.errors import InputError
from dp_base.files import as_input_error, write_text
from dp_experiments.presets.printed_tables import table_path, table_rows
from dp_experiments.terminal.pages import markdown_table

if TYPE_CHECKING:
    from dp_real.runs.reader import Run

TABLES = {f"table{number}": number for number in range(1, 6)}
OURS, SEEDS = "own val", "own runs"  # the columns that runs add
OF_A_ROW = re.compile(r"-table(?P<table>\d)(-(?P<row>\d+))?$")  # ends the name of a preset that is a row of a table
PLACES = {"imagenet100-table1": 4, "imagenet1k-table1-1": 8, "imagenet1k-table1-2": 9}  # from 0; others say theirs


def title(name: str) -> str:
    """What a table shows, in the words of its file."""
    first = table_path(TABLES[name]).read_text(encoding="utf-8").splitlines()[0]
    return first.lstrip("# ").removeprefix("arXiv 2502.15588, ")


def paper_table(name: str, runs: "Iterable[Run]" = ()) -> pd.DataFrame:
    """table1 … table5, with mean validation accuracies (percent) of complete runs of their presets, and branches."""
    number = TABLES[name]
    table = pd.DataFrame(table_rows(number)).drop(columns="note")
    reached: dict[int, list[float]] = {}
    for run in runs:
        if not run.complete:
            raise InputError(f"--run {run.path} is not finished; {run.files.resume} goes on")
        for row, accuracy in _rows_of(run, number, table):
            reached.setdefault(row, []).append(100 * accuracy)
    if reached:
        table[OURS] = pd.Series({row: f"{sum(values) / len(values):.2f}" for row, values in reached.items()})
        table[SEEDS] = pd.Series({row: str(len(values)) for row, values in reached.items()})
    return table.fillna("")


def _rows_of(run: "Run", number: int, table: pd.DataFrame) -> list[tuple[int, float]]:
    config = run.config
    match = OF_A_ROW.search(config.name)
    if match is None or int(match["table"]) != number:
        raise InputError(f"--run {run.path} is of {config.name}, which is no row of Table {number}")
    row = PLACES.get(config.name, int(match["row"] or 1) - 1)
    reached = [(row, float(run.result["val_accuracy"]))]
    if "total" in table:
        own = table.loc[row]
        for branch in run.branches:
            alike = (table["initial"] == own["initial"]) & (table["increment"] == own["increment"])
            for place in table.index[alike & (table["total"] == str(branch["pool_size"]))]:
                if place != row:
                    reached.append((int(place), float(branch["val_accuracy"])))
    return reached


def write_table(name: str, folder: Path, runs: "Iterable[Run]" = ()) -> list[Path]:
    """Write a table as CSV, Markdown, LaTeX and HTML."""
    table = paper_table(name, runs)
    formats = {
        "csv": table.to_csv(index=False),
        "md": markdown_table(table, table.itertuples(index=False)),
        "tex": table.to_latex(index=False, escape=True, caption=title(name)),
        "html": table.to_html(index=False, border=0),
    }
    with as_input_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in formats]
    for path, text in zip(paths, formats.values(), strict=True):
        write_text(path, text)
    return paths
