"""Sweeps, runs, comparisons and the paper's tables on one plot: accuracy against samples generated."""

import shlex
from pathlib import Path

import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import COLUMNS, check_table, measured
from dp_figures.tables import reported as as_printed
from matplotlib.figure import Figure

from dp_base.errors import InputError
from dp_base.reading import foreign_file
from dp_experiments.compare.compare import JOURNAL, Comparison
from dp_experiments.compare.curve_files import CURVES
from dp_experiments.compare.ratios import costs, series_of
from dp_experiments.paper.overlay import as_accuracy
from dp_experiments.presets.printed_tables import reported
from dp_real.runs.files import RunFiles
from dp_real.runs.reader import Run

SETTINGS = ("alpha", "rho", "lam")  # of a sweep, which its series do not name
CLASSES = {"table4": 100, "table5": 1000}


def laid_out(sources: list[str]) -> pd.DataFrame:
    """The curves of table4, table5, sweeps, comparisons and runs in one tidy table.

    x is in samples generated, y in percent.
    """
    parts = []
    names = [_name(source) for source in sources]
    if len(set(names)) < len(names):
        raise InputError(f"two of {', '.join(names)} are called the same; give folders of different names")
    counts = {name: count for name, source in zip(names, sources, strict=True) if (count := _classes(source))}
    if len(set(counts.values())) > 1:
        sizes = ", ".join(f"{name} has {count:,} classes" for name, count in counts.items())
        raise InputError(f"{sizes}: accuracies of different tasks share no axis; compare runs of one task")
    for name, source in zip(names, sources, strict=True):
        curves = _read(source)
        own = curves["series"].astype(str)
        parts.append(curves.assign(series=[f"{name}: {each}" if each else name for each in own])[[*COLUMNS]])
    return pd.concat(parts, ignore_index=True)


def _name(source: str) -> str:
    path = Path(source)
    return source if source in CURVES else (path.parent if path.is_file() else path).resolve().name


def _classes(source: str) -> int | None:
    """The number of classes of a source's task; none for a sweep of the theory."""
    if source in CURVES:
        return CLASSES[source]
    path = Path(source)
    folders = sorted((path / JOURNAL).glob("*")) if Comparison(path).exists else [path]
    return next((Run(folder).config.task.n_classes for folder in folders if RunFiles(folder).is_run), None)


def _read(source: str) -> pd.DataFrame:
    path = Path(source)
    sweep = path if path.is_file() else path / "sweep.csv"
    if source in CURVES:
        rows = reported(CURVES[source])
        return as_printed(rows["method"], rows["total"], rows["val"])
    if (comparison := Comparison(path)).exists:
        arms = comparison.arms
        return arms.assign(series=[*series_of([*arms["series"]]).values()], x=arms["generated"])
    if RunFiles(path).is_run:
        return _of_run(Run(path))
    if sweep.is_file():
        return _of_sweep(sweep)
    kinds = f"a run, a comparison, a sweep (its folder or sweep.csv), or {' or '.join(CURVES)}"
    raise InputError(f"{source}: nothing to compare; name {kinds}")


def _of_run(run: Run) -> pd.DataFrame:
    if not run.complete:
        raise InputError(f"{run.path} is not finished; {run.files.resume} goes on")
    results = pd.DataFrame([*run.branches, run.result])
    if "test_accuracy" not in results or results["test_accuracy"].isna().any():
        raise InputError(f"{run.path} has no test accuracy; dp real evaluate {shlex.quote(str(run.path))} measures it")
    return measured("", costs(results)["generated"], 100 * results["test_accuracy"])


def _of_sweep(file: Path) -> pd.DataFrame:
    with foreign_file(str(file)):
        rows = pd.read_csv(file)
        check_table(rows, *SETTINGS, "generated")
    varying = [name for name in SETTINGS if rows[name].nunique() > 1]
    names = [", ".join([str(row["series"]), *(f"{key} {row[key]:g}" for key in varying)]) for _, row in rows.iterrows()]
    return as_accuracy(rows.assign(series=names, x=rows["generated"]))


def picture(table: pd.DataFrame) -> Figure:
    """Draw the table of `laid_out`."""
    return draw_curves(table, xlabel="samples generated", ylabel="accuracy (%)", logx=True)
