"""How many static samples an arm is worth, with its interval.

Runs on one data split share its generator and its test images. So the independent unit is a split if there are several,
and else a seed. All means are over units. All intervals are Student's, with one degree of freedom fewer than units.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from dp_experiments.compare.equivalent import rising, static_equivalent
from dp_real.config.arms import ArmName

AXIS_LABELS = {
    "generated": "samples generated",
    "kept": "samples in the pool",
    "compute": "FLOPs of generation and training",
    "seconds": "seconds of generation and training",
}
"""What a comparison counts on its x axis: the axes of dp_theory.numerics.costs, and seconds."""
LEVEL = 0.95
ROUNDING = 1e-12  # of differences of accuracies


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """A column for each of AXIS_LABELS.

    For a run that generates nothing, "generated" counts the real examples. FLOPs that were not counted are nan.
    """
    generated = runs["samples_generated"]
    training = runs["training_flops"]
    return pd.DataFrame(
        {
            "generated": generated.where(generated > 0, runs["pool_size"]),
            "kept": runs["pool_size"],
            "compute": (runs["generation_flops"] + training).where(training > 0),
            "seconds": runs["generation_seconds"] + runs["training_seconds"],
        }
    )


def axis_of(table: pd.DataFrame) -> str:
    """The one of AXIS_LABELS that the column x of a comparison's table counts."""
    return next(axis for axis in AXIS_LABELS if table[axis].equals(table["x"]))


def by_unit(runs: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    """A row for each independent unit, a column for each arm, in the order of the arms.

    Where a unit is a split, a value is the mean over its seeds.
    """
    unit = "split" if runs["split"].nunique() > 1 else "seed"
    return values.groupby([runs[unit], runs["arm"]]).mean().unstack()[list(runs["arm"].unique())]


def paired_errors(of_units: pd.DataFrame) -> pd.Series:
    """Standard errors of the means of arms [units, arms], without what a unit does to all arms alike.

    After Cousineau (2005), with the factor of Morey (2008).
    """
    arms = of_units.shape[1]
    return of_units.sub(of_units.mean(axis=1), axis=0).sem() * (arms / (arms - 1)) ** 0.5


def series_of(arms: Sequence[str]) -> dict[str, str]:
    """The name of each arm's series: its kind, with the settings that not all of the arms have, KIND@KEY=VALUE."""
    parsed = {arm: ArmName.parse(arm) for arm in arms}
    shared = set.intersection(*(set(arm.settings) for arm in parsed.values()))
    return {arm: "@".join([name.arm, *sorted({*name.settings} - shared)]) for arm, name in parsed.items()}


def worth(runs: pd.DataFrame, x: str = "generated") -> pd.DataFrame:
    """What static data of the same mean test accuracy costs, for each arm; empty without static arms.

    Costs are counted on `x`, one of AXIS_LABELS. Columns: static_series, the static series that
    is nearest to the arm in settings, if there are several; static_to_match and bound (compare.equivalent); ratio,
    static_to_match over the arm's own cost; ratio_low and ratio_high, the ends of its interval (Fieller 1954, of paired
    differences), nan with one unit. They lie on the same curve, where static data is first not surely worse and where
    it is first surely better. An end beyond the static arms is 0 or inf. Nothing is known, nan, if units agree exactly.
    """
    series = series_of(list(runs["arm"].unique()))
    static = {
        name: [arm for arm in series if series[arm] == name]
        for name in series.values()
        if ArmName.parse(name).arm == "static"
    }
    if not static:
        return pd.DataFrame(index=list(series))
    test = by_unit(runs, runs["test_accuracy"])
    cost = by_unit(runs, costs(runs)[x]).mean()
    rows = {}
    for arm, name in series.items():
        own = _nearest(name, static)
        pairs = test[list(dict.fromkeys([*static[own], arm]))].dropna()
        n = cost[static[own]].to_numpy()
        accuracy = pairs[static[own]].mean().to_numpy()
        curve = rising(n, accuracy)
        (number,), (bound,) = static_equivalent(pairs[[arm]].mean().to_numpy(), n, accuracy)
        if arm in [static[own][place] for place in curve]:  # it is a point of the curve
            low = high = number
        else:
            ahead = pairs[static[own]].sub(pairs[arm], axis=0).to_numpy()
            low, high = _interval(n[curve], ahead[:, curve], n.max())
            unsure = n[ahead.mean(axis=0) + half_width(ahead) >= 0]  # sizes off the curve, too, which fell behind it
            low = min([low, *unsure])
        row = {"static_series": own, "static_to_match": number, "bound": bound}
        with np.errstate(divide="ignore", invalid="ignore"):  # an arm may cost nothing
            ratios = np.array([number, low, high]) / cost[arm]
        rows[arm] = row | dict(zip(("ratio", "ratio_low", "ratio_high"), ratios.tolist(), strict=True))
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table if len(static) > 1 else table.drop(columns="static_series")


def _nearest(name: str, static: Mapping[str, list[str]]) -> str:
    """The static series nearest to a series in settings: one whose settings the series all has, then one that shares
    more, then one with fewer.
    """
    own = set(name.split("@")[1:])
    settings = {series: set(series.split("@")[1:]) for series in static}

    def nearness(series: str) -> tuple[bool, int, int]:
        return settings[series] <= own, len(settings[series] & own), -len(settings[series])

    return max(settings, key=nearness)


def half_width(values: np.ndarray) -> np.ndarray:
    """Half of the interval of each mean over units; nan with one unit. values: shape (units, ...)."""
    units = len(values)
    if units == 1:
        return np.full(values.shape[1:], np.nan)
    return student.ppf((1 + LEVEL) / 2, units - 1) * values.std(axis=0, ddof=1) / units**0.5


def _interval(n: np.ndarray, ahead: np.ndarray, largest: float) -> tuple[float, float]:
    """The sizes at which static data is first not surely worse than an arm, and first surely better.

    n: the increasing sizes of the static curve, shape (sizes,). ahead: the accuracy of static data less that of the
    arm, shape (units, sizes). largest: the largest size that was tried. Both are nan with one unit, or if
    the units do not differ at a size: accuracies come in steps of an image, so a few may agree.
    """
    middle, away = ahead.mean(axis=0), half_width(ahead)
    if not (away > ROUNDING).all():
        return np.nan, np.nan
    not_surely_worse = middle + away
    low = 0.0 if not_surely_worse[0] >= 0 else _first_crossing(n, not_surely_worse, largest)
    return low, _first_crossing(n, middle - away, np.inf)


def _first_crossing(n: np.ndarray, values: np.ndarray, otherwise: float) -> float:
    """The size at which values, linear in log n, are first not negative; `otherwise` if they all are."""
    if not (values >= 0).any():
        return otherwise
    at = int((values >= 0).argmax())
    span = slice(max(0, at - 1), at + 1)
    return float(np.exp(np.interp(0, values[span], np.log(n[span]))))
