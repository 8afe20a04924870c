"""Curves in files of `dp theory sweep`, `dp real compare` and `dp real branch`, and in tables of a user."""

import shlex
import tomllib
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dp_base.checksums import verify
from dp_base.errors import InputError, MissingError
from dp_base.files import file_name
from dp_base.reading import foreign_file, own_file, read_plain_csv, shortened
from dp_experiments.presets.printed_tables import reported
from dp_theory.fitting.curve import COLUMNS, Curve

SWEEP = ("strategy", "kind", "rule", "alpha", "rho", "lam", "p", "generated", "kept", "y", "se", "n_seeds")
COMPARISON = ("series", "kind", "generated", "kept", "y", "se", "n_seeds", "validation")
NEEDED = (
    "its columns must be kept, error (better also se, trials, generated, keep; strategy, if not all rows are static; "
    "initial, increment for practice), or those of sweep.csv or comparison.csv"
)
ARMS = {"static": "static", "practice": "practice", "prune-once": "prune"}  # arms of a comparison, and their strategies
NUMBERS = "iuf"  # NumPy's kinds of them
AGREED = 1e-9  # points, the standard error of seeds that differ by rounding alone
_SERIES = r"^(?P<arm>[^@]*?)(?:-(?P<size>\d+))?(?:@(?P<settings>.*))?$"  # practice-400@training.steps=6000
CURVES = {"table4": 4, "table5": 5}  # of the paper


class Reading(NamedTuple):
    """What a file holds."""

    curve: Curve
    notes: list[str]  # what the file has that the curve leaves out, a line each


def read_curve(path: str | Path, where: Mapping[str, str] | None = None) -> Reading:
    """The curve of a CSV file, of a run's branches or of CURVES, with notes on what it leaves out.

    Of a sweep: simulated points of static data and of one rule. Of a comparison: arms that are strategies of the
    theory.
    """
    path = Path(path)
    where = dict(where or {})
    if str(path) in CURVES:
        return Reading(reported_curve(str(path), where), [])
    if path.is_dir():
        return _read_branches(path, where)
    if not path.exists():
        raise MissingError(f"{path} does not exist: give a CSV file or a run's folder")
    verify(path.parent, "make it again, or copy it elsewhere to take it as it is", [path.name])
    with foreign_file(path, "no CSV table", NEEDED):
        table = read_plain_csv(path, comments=True, skipinitialspace=True)
    if table.empty:
        raise InputError(f"{path} has no rows below the names of its columns: a curve needs a row for each point")
    for read, needed in ((_read_sweep, SWEEP), (_read_comparison, COMPARISON), (_read_own, ("kept", "error"))):
        if set(table.columns).issuperset(needed):
            with foreign_file(path, "holds no curve", NEEDED):
                return read(path, table, where)
    names = shortened(", ".join(map(str, table.columns)))
    raise InputError(f"{path} holds no curve: it has {names}, between commas; {NEEDED}")


def _curve(path: Path, table: pd.DataFrame, **options: Any) -> Curve:
    """The curve of a file's rows; what is wrong is said with its row, counted below the names of columns."""
    try:
        return Curve.of(table, **options)
    except InputError as error:
        for place, row in zip(table.index.tolist(), table.to_dict("records"), strict=True):
            try:
                Curve.of({str(name): _number_or_text(cell) for name, cell in row.items()}, **options)
            except InputError as of_row:
                raise InputError(f"{path}, row {place + 1}: {of_row}") from None
        raise InputError(f"{path}: {error}") from None


def _number_or_text(cell: Any) -> Any:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return cell


def select_rows(
    path: str | Path, table: pd.DataFrame, where: Mapping[str, str], single: tuple[str, ...] = ()
) -> pd.DataFrame:
    """The rows with the values `where`; a column of `single` must then have one value."""
    for name, value in where.items():
        table = _rows_with(path, table, name, value)
    for name in single:
        values = table[name].unique()
        if len(values) > 1:
            listed = ", ".join(f"{v:g}" for v in values)
            raise InputError(f"{path} has several curves, {name} = {listed}: choose with {name}=…")
    return table


def _rows_with(path: str | Path, table: pd.DataFrame, name: str, value: str) -> pd.DataFrame:
    if name not in table:
        raise InputError(f"{path} has no column {name}: one of {', '.join(map(str, table.columns))}")
    column = table[name]
    if column.dtype.kind in NUMBERS:
        try:
            matching = np.isclose(column, float(value))
        except ValueError:
            raise InputError(f"{name} = {value} must be a number: {path} has such ones") from None
    else:
        matching = column.astype(str) == value
    if not matching.any():
        raise InputError(f"{path} has no rows with {name} = {value}: {', '.join(map(str, column.unique()[:8]))}")
    return table[matching]


def _reading(path: Path, table: pd.DataFrame, notes: list[str], **options: Any) -> Reading:
    """The points that have errors, whose logarithms are fitted."""
    perfect = table["error"].map(_number_or_text) == 0
    remark = f"{perfect.sum()} of {len(table)} points have no error, which more test examples might find"
    if perfect.all():
        raise InputError(f"{path}: {'no point is left' if table.empty else remark}")
    if perfect.any():
        notes.append(f"{remark}: they are left out")
    return Reading(_curve(path, table[~perfect], **options), notes)


def _read_own(path: Path, table: pd.DataFrame, where: dict[str, str]) -> Reading:
    selected = select_rows(path, table.assign(strategy=table.get("strategy", "static")), where)
    rules = list(selected["rule"].dropna().unique()) if "rule" in selected else []
    if len(rules) > 1:
        raise InputError(f"{path} has several rules: choose with rule={rules[0]}")
    options = {"rule": str(*rules)} if rules else {}
    notes = [] if "strategy" in table else ["all rows are taken for static data: there is no column strategy"]
    if repeated := selected.duplicated().sum():
        notes.append(f"{repeated} of {len(selected)} rows repeat others: they count as further experiments")
    for name in selected.columns.difference([*COLUMNS, "rule"]):
        is_of_size = selected[name].dtype.kind in NUMBERS and selected.groupby("kept")[name].nunique().max() == 1
        if not is_of_size and 1 < selected[name].nunique() < len(selected):
            values = shortened(", ".join(map(str, selected[name].unique())))
            notes.append(f"rows of {name} = {values} are taken for one curve: --where {name}=… takes one of them")
    reading = _reading(path, selected, notes, **options)
    if np.median(reading.curve.error) > 0.5:
        notes.append("most errors are above 1/2: of two classes that is worse than chance; are they accuracies?")
    return reading


def _read_sweep(path: Path, table: pd.DataFrame, where: dict[str, str]) -> Reading:
    notes = []
    points = table[table["kind"] == "simulated"]
    if points.empty:
        raise InputError(f"{path} has no simulated points, which a curve is made of")
    rules = [str(rule) for rule in points["rule"].unique() if rule != "keep-all"]
    rule = where.pop("rule", "keep-hard" if "keep-hard" in rules else next(iter(rules), "keep-all"))
    if len(rules) > 1:
        notes.append(f"of the rules {', '.join(rules)} only {rule} is fitted: choose with rule=…")
    _rows_with(path, points, "rule", rule)  # raises if there are none
    points = points[(points["rule"] == rule) | (points["strategy"] == "static")]
    points = select_rows(path, points, where, single=("alpha", "rho", "lam"))

    points = points.rename(columns={"y": "error", "n_seeds": "trials", "p": "keep"})
    points.loc[~np.isfinite(points["se"]), "se"] = np.nan
    is_small = points["kept"] < 1
    if is_small.any():
        notes.append(f"{is_small.sum()} points are left out, which keep less than one row in the mean")
        points = points[~is_small]
    return _reading(path, points, notes, rule="keep-hard" if rule == "keep-all" else rule, exact=True)


def _read_comparison(path: Path, table: pd.DataFrame, where: dict[str, str]) -> Reading:
    names = table["series"].astype(str).str.extract(_SERIES)
    table = table.assign(arm=names["arm"], settings=names["settings"].fillna(""))
    rows = table[table["arm"].isin(ARMS)]
    if rows.empty:
        raise InputError(f"{path} has no arm that is a strategy of the theory: {', '.join(ARMS)}")
    notes = [f"{name} is left out: it is no strategy of the theory" for name in table["series"].drop(rows.index)]
    if "settings" not in where and rows["settings"].nunique() > 1:
        commonest = str(rows["settings"].value_counts().index[0])
        left_out = ", ".join(rows["series"][rows["settings"] != commonest])
        notes.append(f"arms of other settings are left out: {left_out}; choose with settings=…")
        where = where | {"settings": commonest}
    rows = select_rows(path, rows, where)

    sizes = rows["kept"].to_numpy(float)
    rows = rows.assign(initial=sizes, increment=sizes, generated=np.maximum(rows["generated"], sizes))
    for index, name in rows["series"][rows["arm"] == "practice"].items():
        configs = sorted(path.parent.glob(f"runs/{escape(file_name(str(name)))}-seed*/config.toml"))
        practice = {}
        for config in configs[:1]:
            with own_file(config, "restore it"):
                practice = tomllib.loads(config.read_text(encoding="utf-8")).get("practice", {})
        rows.loc[index, ["initial", "increment"]] = [practice.get("initial", np.nan), practice.get("increment", np.nan)]
    unknown = rows["initial"].isna()
    notes += [f"{name} is left out: no runs in its folder say how it began" for name in rows["series"][unknown]]
    rows = rows[~unknown]
    if rows.empty:
        raise InputError(f"{path} has arms of practice alone, and no runs in its folder say how they began")
    agree, se = rows["se"] < AGREED, rows["se"]
    if agree.any():
        of_others = (se[~agree] ** 2).mean() ** 0.5
        se = se.where(~agree, of_others)
        spread = "nothing is known of the spread" if np.isnan(of_others) else "the spread of the other arms is taken"
        notes.append(f"the seeds of {', '.join(rows['series'][agree])} agree: {spread}")
    points = rows[["kept", "generated", "initial", "increment"]].assign(
        strategy=rows["arm"].map(ARMS),
        error=1 - rows["y"] / 100,
        se=se / 100,
        trials=rows["units" if "units" in rows else "n_seeds"],
    )
    return _reading(path, points, notes)


def _read_branches(folder: Path, where: dict[str, str]) -> Reading:
    from dp_real import Run

    run = Run(folder)
    if not run.branches:
        raise InputError(f"{folder} has no branches: dp real branch {shlex.quote(str(folder))} makes them")
    results = pd.DataFrame([*run.branches, run.result]).dropna(subset="pool_size")  # the run's own is empty at first
    error = 1 - results["test_accuracy"]
    practice = run.config.practice
    table = pd.DataFrame(
        {
            "strategy": "practice",
            "kept": results["pool_size"].astype(float),
            "error": error,
            "se": np.sqrt(error * (1 - error) / results["test_examples"]),
            "initial": results["pool_size"].clip(upper=practice.initial).astype(float),
            "increment": float(practice.increment),
        }
    )
    notes = ["standard errors are of the test examples alone: one run says nothing of other seeds"]
    return _reading(folder, select_rows(folder, table, where), notes)


def reported_curve(name: str, where: Mapping[str, str] | None = None) -> Curve:
    """Validation errors of ImageNet-100 (table4) or ImageNet-1k (table5): single runs without standard errors."""
    rows = reported(CURVES[name])
    table = pd.DataFrame(
        {
            "strategy": rows["method"].where(rows["method"] == "static", "practice"),
            "kept": rows["total"].astype(float),
            "error": 1 - rows["val"] / 100,
            "initial": rows["initial"].astype(float),
            "increment": rows["increment"].fillna(rows["total"]),
        }
    )
    return Curve.of(select_rows(name, table, where or {}))
