"""Curves in files: of `dp theory sweep`, of `dp real compare`, of a run with branches, and a table of one's own."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dp_base.errors import InputError, MissingError
from dp_base.files import file_name
from dp_theory.fitting.curve import REQUIRED, Curve

if TYPE_CHECKING:
    import pandas as pd

SWEEP = ("strategy", "kind", "rule", "alpha", "rho", "lam", "p", "generated", "kept", "y", "se", "n_seeds")
COMPARISON = ("series", "kind", "generated", "kept", "y", "se", "n_seeds", "validation")
NEEDED = (
    f"its columns must be {', '.join(REQUIRED)} (better also se, trials, generated, keep; initial, increment for "
    "practice), or those of sweep.csv or comparison.csv"
)
ARMS = {"static": "static", "practice": "practice", "prune-once": "prune"}  # of comparison.csv; others are no strategy


class Reading(NamedTuple):
    """A curve, and what its file has that it leaves out, a line each."""

    curve: Curve
    notes: list[str]


def read_curve(path: str | Path, where: Mapping[str, str] | None = None) -> Reading:
    """The curve of a CSV file, or of a run's folder with branches.

    where: values that columns must have, for a file with several curves: {"lam": "0.01", "rule": "keep-easy"} of a
    sweep, {"settings": "training.steps=6000"} of a comparison's arms. Errors of a comparison are its test errors; an
    arm that is no strategy of the theory is left out. Raises MissingError where there is nothing, InputError for
    a file of another kind, which names the columns that are needed, and for one with several curves.
    """
    import pandas as pd

    path, where = Path(path), dict(where or {})
    if not path.exists():
        raise MissingError(f"{path} does not exist: give a CSV file or a run's folder")
    if path.is_dir():
        return _branches(path, where)
    try:
        table = pd.read_csv(path, comment="#", skipinitialspace=True)
    except (ValueError, pd.errors.ParserError, OSError) as error:  # a decoding error is a ValueError, too
        raise InputError(f"{path} is no CSV table ({type(error).__name__}): {NEEDED}") from None
    columns = set(table.columns)
    for kind, needed in ((_sweep, SWEEP), (_comparison, COMPARISON), (_own, REQUIRED)):
        if columns.issuperset(needed):
            return kind(path, table, where)
    raise InputError(f"{path} holds no curve: it has {', '.join(map(str, table.columns))}, between commas; {NEEDED}")


def _own(path: Path, table: pd.DataFrame, where: dict[str, str]) -> Reading:
    chosen = chosen_rows(path, table, where)
    rules = chosen["rule"].dropna().unique() if "rule" in chosen else []
    if len(rules) > 1:
        raise InputError(f"{path} has several rules: choose with rule={rules[0]}")
    curve = Curve.of(chosen, **({"rule": str(rules[0])} if len(rules) else {}))
    note = "most errors are above 1/2: of two classes that is worse than chance; are they accuracies?"
    return Reading(curve, [note] if np.median(curve.error) > 0.5 else [])


def _sweep(path: Path, table: pd.DataFrame, where: dict[str, str]) -> Reading:
    """The simulated points of static and of one rule."""
    points = table[table["kind"] == "simulated"]
    notes = []
    rules = [str(rule) for rule in points["rule"].unique() if rule != "keep-all"]
    rule = where.pop("rule", "keep-hard" if "keep-hard" in rules else rules[0] if rules else "keep-all")
    if len(rules) > 1:
        notes.append(f"of the rules {', '.join(rules)} only {rule} is fitted: choose with rule=…")
    points = points[(points["rule"] == rule) | (points["strategy"] == "static")]
    points = chosen_rows(path, points, where, ("alpha", "rho", "lam"))
    renamed = points.drop(columns="x").rename(columns={"y": "error", "n_seeds": "trials", "p": "keep"})
    renamed.loc[~np.isfinite(renamed["se"]), "se"] = np.nan
    if len(small := renamed[renamed["kept"] < 1]):
        notes.append(f"{len(small)} points are left out, which keep less than one row in the mean")
        renamed = renamed.drop(index=small.index)
    return Reading(Curve.of(renamed, rule="keep-hard" if rule == "keep-all" else rule, exact=True), notes)


def _comparison(path: Path, table: pd.DataFrame, where: dict[str, str]) -> Reading:
    """The arms that are strategies of the theory, of one setting."""
    parts = table["series"].astype(str).str.extract(r"^(?P<arm>[^@]*?)(?:-(?P<size>\d+))?(?:@(?P<settings>.*))?$")
    table = table.assign(arm=parts["arm"], settings=parts["settings"].fillna(""))
    known = table[table["arm"].isin(ARMS)]
    notes = [f"{name} is left out: it is no strategy of the theory" for name in table["series"].drop(known.index)]
    settings = list(known["settings"].unique())
    if len(settings) > 1 and "settings" not in where:
        where["settings"] = str(known["settings"].value_counts().index[0])
        left = ", ".join(known["series"][known["settings"] != where["settings"]])
        notes.append(f"arms of other settings are left out: {left}; choose with settings=…")
    known = chosen_rows(path, known, where)
    loops = [
        _loop(path, str(name)) if arm == "practice" else (np.nan, np.nan)
        for name, arm in zip(known["series"], known["arm"], strict=True)
    ]
    initial, increment = np.array(loops).reshape(-1, 2).T
    practised = (known["arm"] == "practice").to_numpy()
    unknown = practised & np.isnan(initial)
    notes += [f"{name} is left out: no runs beside {path.name} say how it began" for name in known["series"][unknown]]
    rows, kept = known[~unknown], known["kept"].to_numpy(float)[~unknown]
    curve = Curve.of(
        {"strategy": rows["arm"].map(ARMS), "kept": kept, "generated": np.maximum(rows["generated"], kept),
         "error": 1 - rows["y"].to_numpy(float) / 100,
         "se": rows["se"].to_numpy(float) / 100, "trials": rows["units"] if "units" in rows else rows["n_seeds"],
         "initial": np.where(practised, initial, known["kept"])[~unknown],
         "increment": np.where(practised, increment, known["kept"])[~unknown]}
    )  # fmt: skip
    return Reading(curve, notes)


def _loop(path: Path, series: str) -> tuple[float, float]:
    """First pool and increment of an arm, from the configuration of one of its runs; nan without one."""
    for config in sorted(path.parent.glob(f"runs/{_literal(file_name(series))}-seed*/config.toml")):
        practice = _practice(config)
        return float(practice["initial"]), float(practice["increment"])
    return np.nan, np.nan


def _practice(config: Path) -> dict[str, Any]:
    """The section [practice] of a run's configuration; empty where there is none."""
    return tomllib.loads(config.read_text(encoding="utf-8")).get("practice", {}) if config.exists() else {}


def _literal(text: str) -> str:
    """The glob pattern of a text."""
    return re.sub(r"([*?[])", r"[\1]", text)


def _branches(run: Path, where: dict[str, str]) -> Reading:
    """The cool-downs of a run from each pool size; standard errors are those of the test examples."""
    import pandas as pd

    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(run.glob("branches/*/result.json"))]
    if not results:
        raise InputError(f"{run} has no branches/SIZE/result.json: dp real branch {run} makes them")
    practice = _practice(run / "config.toml")
    if not practice:
        raise MissingError(f"{run}/config.toml is missing: it says how the practice began")
    kept = np.array([float(result["pool_size"]) for result in results])
    error = np.array([1 - float(result["test_accuracy"]) for result in results])
    examples = np.array([float(result["test_examples"]) for result in results])
    table = {
        "strategy": np.full(len(kept), "practice"), "kept": kept, "error": error,
        "se": np.sqrt(error * (1 - error) / examples),
        "initial": np.minimum(float(practice["initial"]), kept), "increment": float(practice["increment"]),
    }  # fmt: skip
    note = "standard errors are of the test examples alone: one run says nothing of other seeds"
    return Reading(Curve.of(chosen_rows(run, pd.DataFrame(table), where)), [note])


def chosen_rows(
    path: str | Path, table: pd.DataFrame, where: Mapping[str, str], single: tuple[str, ...] = ()
) -> pd.DataFrame:
    """The rows whose columns have the values that `where` says; those of `single` must then have one value each.

    path: where the table is from, for messages. Raises InputError for a column or a value that is not there.
    """
    for name, value in where.items():
        if name not in table:
            raise InputError(f"{path} has no column {name}: one of {', '.join(map(str, table.columns))}")
        column = table[name]
        if np.issubdtype(column.to_numpy().dtype, np.number):
            try:
                matching = np.isclose(column, float(value))
            except ValueError:
                raise InputError(f"{name} = {value} must be a number: {path} has such ones") from None
        else:
            matching = column.astype(str) == value
        if not np.any(matching):
            raise InputError(f"{path} has no rows with {name} = {value}: {', '.join(map(str, column.unique()[:8]))}")
        table = table[matching]
    for name in single:
        values = table[name].unique()
        if len(values) > 1:
            raise InputError(
                f"{path} has several curves, {name} = {', '.join(f'{v:g}' for v in values)}: choose with {name}=…"
            )
    return table
