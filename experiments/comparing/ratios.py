"""How many static samples an arm is worth, and how fast errors fall with samples: with intervals.

What is independent is a data split where there are several, else a seed: runs on one split share its generator and its
test images. All means are over such units, all intervals Student's, with one degree of freedom fewer than units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import pandas as pd
from scipy.stats import t as student

from dp_real.config.arms import ArmName
from experiments.presets.reported.audit import rising, static_equivalent

LEVEL = 0.95
FINE = 200  # places between two static sizes at which an interval is looked for


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """What each run cost, a column for each axis of experiments.comparing.axes, from the content of its result.json.

    For a run that generates nothing, "generated" counts the real examples. FLOPs that nobody counted are nan.
    """
    generated, training = runs["samples_generated"], runs["training_flops"]
    return pd.DataFrame(
        {
            "generated": generated.where(generated > 0, runs["pool_size"]),
            "kept": runs["pool_size"],
            "compute": (runs["generation_flops"] + training).where(training > 0),
            "seconds": runs["generation_seconds"] + runs["training_seconds"],
        }
    )


def by_unit(runs: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    """Values, a row for each independent unit (the mean over its seeds), a column for each arm in their order."""
    unit = "split" if runs["split"].nunique() > 1 else "seed"
    return values.groupby([runs[unit], runs["arm"]]).mean().unstack()[list(runs["arm"].unique())]


def series_of(arms: Sequence[str]) -> dict[str, str]:
    """Arm -> the name of its series: its kind, with the settings that not all of the arms have, KIND@KEY=VALUE."""
    parsed = {arm: ArmName.parse(arm) for arm in arms}
    shared = set.intersection(*(set(map(_meaning, arm.settings)) for arm in parsed.values()))
    written: dict[tuple[str, frozenset[tuple[str, str | float]]], str] = {}  # of one meaning, however an arm writes it

    def series(arm: ArmName) -> str:
        own = {each: meaning for each in arm.settings if (meaning := _meaning(each)) not in shared}
        return written.setdefault((arm.arm, frozenset(own.values())), "@".join([arm.arm, *own]))

    return {name: series(arm) for name, arm in parsed.items()}


def worth(runs: pd.DataFrame, x: str = "generated") -> pd.DataFrame:
    """What static data of the same mean test accuracy cost: a row per arm, counted on an axis of
    experiments.comparing.axes.

    Columns: static_to_match; bound, see static_equivalent; ratio = static_to_match / the arm's own cost; ratio_low and
    ratio_high, the ends of its interval, nan with one unit: along the same curve, where static data is first not surely
    worse, and where it is first surely better (Fieller 1954, of paired differences). It ends in 0 or inf if that is
    beyond the static arms. If these are several series, an arm is held against the one that is nearest to it in
    settings, which the column `static_series` names. Empty without static arms.
    """
    series = series_of(list(runs["arm"].unique()))
    static = {name: arms for name, arms in _members(series).items() if ArmName.parse(name).arm == "static"}
    if not static:
        return pd.DataFrame(index=list(series))
    test, spent = by_unit(runs, runs["test_accuracy"]), by_unit(runs, costs(runs)[x]).mean()
    rows = {}
    for arm, name in series.items():
        own = _nearest(name, static)
        n, accuracy = spent[static[own]].to_numpy(), test[static[own]].mean().to_numpy()
        curve = rising(n, accuracy)
        (number,), (bound,) = static_equivalent(test[[arm]].mean().to_numpy(), n, accuracy)
        if arm in [static[own][place] for place in curve]:
            low = high = number
        else:
            ahead = test[static[own]].sub(test[arm], axis=0).to_numpy()
            low, high = _interval(n[curve], ahead[:, curve], n.max())
        found = {"static_series": own, "static_to_match": number, "bound": bound, "ratio": number / spent[arm]}
        rows[arm] = found | {"ratio_low": low / spent[arm], "ratio_high": high / spent[arm]}
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table if len(static) > 1 else table.drop(columns="static_series")


def exponents(runs: pd.DataFrame) -> pd.DataFrame:
    """How fast errors fall: a row for each series of arms that ended with at least three sizes of pools.

    Columns: series; sizes; exponent, the b of test error ~ n^-b in the pool's size n, the mean over units of slopes by
    least squares of logarithms; low and high, its interval, nan with one unit. A run without an error counts as one
    with half of an image wrong.
    """
    error = (1 - runs["test_accuracy"]).clip(lower=0.5 / runs["test_examples"])
    table, sizes = by_unit(runs, np.log(error)), by_unit(runs, runs["pool_size"]).mean()
    rows = []
    for series, arms in _members(series_of(list(map(str, table)))).items():
        distinct = sizes[arms].nunique()
        if distinct < 3:
            continue
        slopes = -np.polyfit(np.log(sizes[arms]), table[arms].to_numpy().T, 1)[0]
        middle, away = slopes.mean(), _half_width(slopes)
        found = {"series": series, "sizes": distinct, "exponent": middle}
        rows.append(found | {"low": middle - away, "high": middle + away})
    return pd.DataFrame(rows, columns=["series", "sizes", "exponent", "low", "high"])


def _members(series: Mapping[str, str]) -> dict[str, list[str]]:
    """The arms of each series, from the series of each arm."""
    members: dict[str, list[str]] = {}
    for arm, name in series.items():
        members.setdefault(name, []).append(arm)
    return members


def _meaning(setting: str) -> tuple[str, str | float]:
    """Key and value of KEY=VALUE: the same of crop=.7 and crop=0.70."""
    key, _, value = (part.strip() for part in setting.partition("="))
    with suppress(ValueError):
        return key, float(value)
    return key, value


def _nearest(name: str, static: Mapping[str, list[str]]) -> str:
    """The static series whose settings a series has, the most of them; else the one that shares the most."""
    own = set(map(_meaning, name.split("@")[1:]))
    of = {series: set(map(_meaning, series.split("@")[1:])) for series in static}
    return max(of, key=lambda series: (of[series] <= own, len(of[series] & own), -len(of[series])))


def _half_width(values: np.ndarray) -> np.ndarray:
    """Half of the interval of each mean over units, [units, ...]; nan with one unit."""
    units = len(values)
    if units == 1:
        return np.full(values.shape[1:], np.nan)
    return student.ppf((1 + LEVEL) / 2, units - 1) * values.std(axis=0, ddof=1) / units**0.5


def _interval(n: np.ndarray, ahead: np.ndarray, largest: float) -> tuple[float, float]:
    """Where static data is first not surely worse than an arm, and where it is first surely better.

    n: increasing [S]. ahead: static data's accuracy minus the arm's [units, S]. largest: the largest size tried.
    """
    index = np.arange(len(n))
    places = np.linspace(0, len(n) - 1, FINE * (len(n) - 1) + 1)
    log_size = np.interp(places, index, np.log(n))
    each = np.array([np.interp(places, index, unit) for unit in ahead])
    middle, away = each.mean(axis=0), _half_width(each)
    if np.isnan(away).any():
        return np.nan, np.nan
    low, high = _first(log_size, middle + away, largest), _first(log_size, middle - away, np.inf)
    return 0.0 if middle[0] + away[0] >= 0 else low, high


def _first(log_size: np.ndarray, values: np.ndarray, otherwise: float) -> float:
    """The size at which values first are not negative."""
    if not (values >= 0).any():
        return otherwise
    at = int((values >= 0).argmax())
    span = slice(max(0, at - 1), at + 1)
    return float(np.exp(np.interp(0, values[span], log_size[span])))
