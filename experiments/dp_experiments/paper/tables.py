"""The paper's tables, with columns for a user's own runs, in four formats."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dp_base.errors import InputError
from dp_base.files import as_input_error, write_text
from dp_experiments.presets.presets import load_preset
from dp_experiments.presets.printed_tables import table_path, table_rows
from dp_experiments.terminal.pages import markdown_table

if TYPE_CHECKING:
    from dp_real.runs.reader import Run

TABLES = {f"table{number}": number for number in range(1, 6)}
OURS = "own"  # begins the name of a column of accuracies that runs add
SEEDS, CHANGED = "own runs", "keys that differ"  # columns of the runs' number, and of keys that their preset has not
OF_A_ROW = re.compile(r"-table(\d)-(\d+)$")  # ends the name of a preset that is a row of a table
PLACES = {"imagenet100-table1": (1, 5), "imagenet1k-table1-1": (1, 9), "imagenet1k-table1-2": (1, 10)}
PLACES |= {"imagenet100": (4, 5), "imagenet1k": (5, 4)}
"""The table and row of presets whose names do not say theirs."""
SETS = {"val": "validation", "train": "test", "v2": "imagenet-v2", "sketch": "imagenet-sketch", "r": "imagenet-r"}
SETS |= {"a": "imagenet-a"}
"""The set of a run that a column is about. The paper's real training images are held out."""
NEUTRAL = {"seed", "data", "pool", "threads", "tracker"}
"""Keys and sections that differ between runs of a row."""


def title(name: str) -> str:
    """What a table shows, in the words of its file."""
    first = table_path(TABLES[name]).read_text(encoding="utf-8").splitlines()[0]
    return first.lstrip("# ").removeprefix("arXiv 2502.15588, ")


def paper_table(name: str, runs: "Iterable[Run]" = ()) -> pd.DataFrame:
    """table1 … table5, with mean accuracies (percent) of complete runs of their presets, and branches, on each set.

    A column names the keys of a row's runs that differ from the preset's.
    """
    number = TABLES[name]
    table = pd.DataFrame(table_rows(number)).drop(columns="note")
    reached: dict[int, list[pd.Series]] = {}
    changed: dict[int, set[str]] = {}
    for run in runs:
        if not run.complete:
            raise InputError(f"--run {run.path} is not finished; {run.files.resume} goes on")
        for row, result in _rows_of(run, number, table):
            reached.setdefault(row, []).append(_accuracies(run, result))
            changed.setdefault(row, set()).update(_changed(run))
    if reached:
        means = pd.DataFrame({row: pd.concat(each, axis=1).mean(axis=1) for row, each in reached.items()}).T
        for column in means.dropna(axis=1, how="all").columns.intersection(table.columns):
            table[f"{OURS} {column}"] = means[column].map("{:.2f}".format, na_action="ignore")
        table[SEEDS] = pd.Series({row: str(len(each)) for row, each in reached.items()})
    if any(changed.values()):
        table[CHANGED] = pd.Series({row: ", ".join(sorted(keys)) for row, keys in changed.items()})
    return table.fillna("")


def _changed(run: "Run") -> list[str]:
    from dp_real.practice.section import differences

    with suppress(InputError):  # a preset of one's own is not known here
        differing = differences(load_preset(run.config.name), run.config, run.config.neutral_keys)
        return [key for key in differing if key.split(".")[0] not in NEUTRAL]
    return []


def _accuracies(run: "Run", result: dict[str, Any]) -> pd.Series:
    """In percent, by the names of the tables' columns."""
    by_set = {each["set"]: each["accuracy"] for each in result.get("sets", [])}
    data: Any = run.config.data
    held_out = {"test": result.get("test_accuracy")} if data.test != data.validation else {}
    by_set |= {"validation": result["val_accuracy"], **held_out}
    return 100 * pd.Series({column: by_set.get(name) for column, name in SETS.items()}, dtype=float)


def _rows_of(run: "Run", number: int, table: pd.DataFrame) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a table that a run and its branches repeat, from 0, with their results."""
    preset = run.config.name
    match = OF_A_ROW.search(preset)
    of, row = PLACES.get(preset) or ((int(match[1]), int(match[2])) if match else (0, 0))
    if of != number:
        raise InputError(f"--run {run.path} is of {preset}, which is no row of Table {number}")
    rows = [(row - 1, run.result)]
    if "total" in table:
        own = table.loc[row - 1]
        for branch in run.branches:
            alike = (table["initial"] == own["initial"]) & (table["increment"] == own["increment"])
            places = table.index[alike & (table["total"] == str(branch["pool_size"]))]
            rows += [(int(place), branch) for place in places if place != row - 1]
    return rows


def write_table(name: str, folder: Path, runs: "Iterable[Run]" = ()) -> list[Path]:
    """Write a table as CSV, Markdown, LaTeX and HTML."""
    table = paper_table(name, runs)
    formats = {
        "csv": table.to_csv(index=False),
        "md": markdown_table(table, table.itertuples(index=False)),
        "tex": table.to_latex(index=False, escape=True, caption=title(name)),
        "html": table.to_html(index=False, border=0),
    }
    paths = [folder / f"{name}.{ending}" for ending in formats]
    with as_input_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, formats.values(), strict=True):
            write_text(path, text)
    return paths
