"""Sweeps, runs, comparisons and the paper's tables on one plot: accuracy against samples generated, with ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dp_figures import style
from dp_figures.curves import draw_curves
from dp_figures.tables import COLUMNS, check_table, measured
from dp_figures.tables import reported as as_printed
from matplotlib.figure import Figure
from scipy.stats import t as student

from dp_base.errors import InputError
from dp_base.reading import foreign_file
from dp_experiments.comparing.compare import Comparison
from dp_experiments.comparing.ratios import LEVEL, costs, series_of
from dp_experiments.presets.reported.audit import SCALING, reported, static_equivalent
from dp_experiments.terminal import records
from dp_real.runs.files import RunFiles
from dp_real.runs.reader import Run

SETTINGS = ("alpha", "rho", "lam")  # of a sweep, which its series do not name
LINE_HEIGHT = 0.165  # inches, of a line of the legend
RATIOS = ("series", "baseline", "x", "y", "baseline_x", "bound", "ratio", "ratio_low", "ratio_high")


def laid_out(sources: list[str]) -> pd.DataFrame:
    """The curves of table4, table5, sweeps, comparisons and runs in one tidy table.

    x is in samples generated, y in percent, and `units` are independent repeats.
    """
    names = [_name(source) for source in sources]
    parts = []
    for name, source in zip(names, sources, strict=True):
        if names.count(name) > 1:
            raise InputError(f"two of what is compared are called {name}; give folders of different names")
        found = _read(source)
        own = found["series"].astype(str)
        parts.append(found.assign(series=[f"{name}: {each}" if each else name for each in own], source=name))
    return pd.concat(parts, ignore_index=True)


def _name(source: str) -> str:
    path = Path(source)
    return source if source in _tables() else (path.parent if path.is_file() else path).resolve().name


def _tables() -> dict[str, int]:
    return {f"table{number}": number for number in SCALING.values()}


def _read(source: str) -> pd.DataFrame:
    path = Path(source)
    sweep = path if path.is_file() else path / "sweep.csv"
    if source in _tables():
        rows = reported(_tables()[source])
        return as_printed(rows["method"], rows["total"], rows["val"]).assign(units=1)
    if Comparison(path).exists:
        return _of_comparison(Comparison(path))
    if RunFiles(path).is_run:
        return _of_run(Run(path))
    if sweep.is_file():
        return _of_sweep(sweep)
    kinds = f"a run, a comparison, a sweep (its folder or sweep.csv), or {' or '.join(_tables())}"
    raise InputError(f"{source}: nothing to compare; name {kinds}")


def _of_comparison(comparison: Comparison) -> pd.DataFrame:
    arms = comparison.arms
    arms["series"] = list(series_of(list(arms["series"])).values())
    return arms.assign(x=arms["generated"])[[*COLUMNS, "units"]]


def _of_run(run: Run) -> pd.DataFrame:
    if not run.complete:
        raise InputError(f"{run.path} is not finished; dp real resume {run.path} goes on")
    results = pd.DataFrame([*run.branches, run.result])
    if "test_accuracy" not in results or results["test_accuracy"].isna().any():
        raise InputError(f"{run.path} has no test accuracy; dp real evaluate {run.path} measures it")
    return measured("", costs(results)["generated"], 100 * results["test_accuracy"]).assign(units=1)


def _of_sweep(file: Path) -> pd.DataFrame:
    with foreign_file(str(file)):
        rows = pd.read_csv(file)
        check_table(rows, *SETTINGS, "generated")
    varying = [name for name in SETTINGS if rows[name].nunique() > 1]
    names = [", ".join([str(row["series"]), *(f"{key} {row[key]:g}" for key in varying)]) for _, row in rows.iterrows()]
    accuracy = 100 * (1 - rows[["y", "y_low", "y_high"]])
    rows = rows.assign(series=names, x=rows["generated"], units=rows["n_seeds"])
    rows = rows.assign(y=accuracy["y"], y_low=accuracy["y_high"], y_high=accuracy["y_low"])
    return rows[[*COLUMNS, "units"]]


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """How many samples of a baseline each point is worth, over its own, with 95 % intervals.

    The baseline is the source's static series, else the first static one, else the first. Errors of both count as
    independent; ends beyond the baseline's sizes are 0 or inf.
    """
    names = list(table["series"].unique())
    static = table[table["series"].str.contains(": static")].groupby("source")["series"].first()
    usual = next((static[source] for source in table["source"].unique() if source in static), names[0])
    rows = []
    for source, name in table[["source", "series"]].drop_duplicates().itertuples(index=False):
        baseline = static.get(source, usual)
        if name != baseline:
            base = _points(table, baseline).groupby("x").mean(numeric_only=True).reset_index()
            rows += [{"baseline": baseline} | _ratio(point, base) for point in records(_points(table, name))]
    return pd.DataFrame(rows, columns=RATIOS)


def _points(table: pd.DataFrame, name: str) -> pd.DataFrame:
    rows = table[table["series"] == name]
    points = rows[rows["kind"] != "predicted"]
    return (points if len(points) else rows).sort_values("x", ignore_index=True)


def _ratio(point: dict[str, Any], base: pd.DataFrame) -> dict[str, Any]:
    n = base["x"].to_numpy(float)
    accuracy = base["y"].to_numpy(float)
    (number,), (bound,) = static_equivalent(np.array([point["y"]]), n, accuracy)
    errors = ((base["y_high"] - base["y_low"]) / 2).to_numpy(float)
    of_base = float(np.interp(np.log(number), np.log(n), errors))
    units = min(point["units"], base["units"].min())
    se = float(np.hypot((point["y_high"] - point["y_low"]) / 2, of_base))
    away = student.ppf((1 + LEVEL) / 2, units - 1) * se if units > 1 else np.nan
    row = {"series": point["series"], "x": point["x"], "y": point["y"], "baseline_x": number, "bound": bound}
    row["ratio"] = number / point["x"]
    ends = np.array([point["y"] - away, point["y"] + away])
    row["ratio_low"] = row["ratio_high"] = np.nan
    if np.isfinite(ends).all():
        (low, high), (below, above) = static_equivalent(ends, n, accuracy)
        row["ratio_low"] = (0.0 if below == "<" else low) / point["x"]
        row["ratio_high"] = (np.inf if above == ">" else high) / point["x"]
    return row


def picture(table: pd.DataFrame) -> Figure:
    """Draw the table of `laid_out`."""
    figure = draw_curves(table, xlabel="samples generated", ylabel="accuracy (%)", logx=True)
    named = table["series"].nunique() + table["kind"].nunique()
    figure.set_figheight(max(style.SINGLE_HEIGHT, LINE_HEIGHT * (named + 1)))
    return figure
