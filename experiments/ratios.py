"""How many static samples an arm is worth, and how fast errors fall with samples: with intervals over seeds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dp_real.config.arms import ArmName
from experiments.reported.audit import static_equivalent

DRAWS = 2000  # of the bootstrap
COVERED = (0.025, 0.975)  # the quantiles of an interval


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """What each run cost, a column for each axis of dp_real.axes, from the content of its result.json.

    For a run that generates nothing, "generated" counts the real examples.
    """
    generated = runs["samples_generated"]
    return pd.DataFrame(
        {
            "generated": generated.where(generated > 0, runs["pool_size"]),
            "kept": runs["pool_size"],
            "compute": runs["generation_flops"] + runs["training_flops"],
            "seconds": runs["generation_seconds"] + runs["training_seconds"],
        }
    )


def worth(runs: pd.DataFrame, x: str = "generated") -> pd.DataFrame:
    """What static data of the same mean test accuracy cost: a row per arm, counted on an axis of dp_real.axes.

    Columns: static_to_match; bound, see static_equivalent; ratio = static_to_match / the arm's own cost; ratio_low and
    ratio_high, its 95 % interval. For the interval, seeds are drawn with replacement, for all arms together because
    they are paired; it ends in inf or 0 where the static arms do not reach far enough. Empty without static arms.
    """
    arms = list(dict.fromkeys(map(str, runs["arm"])))
    test, cost = (_by_seed(runs, values, arms) for values in (runs["test_accuracy"], costs(runs)[x]))
    static = np.array([ArmName.parse(name).arm == "static" for name in arms])
    if not static.any():
        return pd.DataFrame(index=arms)

    def ratios(seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        accuracy, spent = test[seeds].mean(0), cost[seeds].mean(0)
        number, bound = static_equivalent(accuracy, spent[static], accuracy[static])
        return number, bound, number / spent

    number, bound, ratio = ratios(np.arange(len(test)))
    drawn = []
    for seeds in _draws(len(test)):
        _, beyond, each = ratios(seeds)
        drawn.append(np.select([beyond == ">", beyond == "<"], [np.inf, 0.0], each))
    low, high = (np.quantile(drawn, level, axis=0, method="nearest") for level in COVERED)
    columns = {"static_to_match": number, "bound": bound, "ratio": ratio, "ratio_low": low, "ratio_high": high}
    return pd.DataFrame(columns, index=arms)


def exponents(runs: pd.DataFrame) -> pd.DataFrame:
    """How fast errors fall: a row for each kind of arm that has at least three pool sizes.

    Columns: arm; sizes; exponent, the b of test error ~ n^-b in the pool's size n, by least squares of the logarithms
    of the mean error; low and high, its 95 % interval over seeds.
    """
    kinds = dict[str, list[str]]()
    for name in dict.fromkeys(map(str, runs["arm"])):
        kinds.setdefault(ArmName.parse(name).arm, []).append(name)
    rows = []
    for kind, names in kinds.items():
        error, sizes = 1 - _by_seed(runs, runs["test_accuracy"], names), _by_seed(runs, runs["pool_size"], names)
        distinct = len(np.unique(sizes.mean(0)))
        if distinct < 3:
            continue

        slopes = [_slope(sizes.mean(0), error[seeds].mean(0)) for seeds in _draws(len(error))]
        low, high = np.quantile(slopes, COVERED)
        fitted = _slope(sizes.mean(0), error.mean(0))
        rows.append({"arm": kind, "sizes": distinct, "exponent": fitted, "low": low, "high": high})
    return pd.DataFrame(rows, columns=["arm", "sizes", "exponent", "low", "high"])


def _slope(n: np.ndarray, error: np.ndarray) -> float:
    return -np.polyfit(np.log(n), np.log(error), 1)[0]


def _by_seed(runs: pd.DataFrame, values: pd.Series, arms: list[str]) -> np.ndarray:
    """Values [seeds, arms]."""
    return runs.assign(value=values).pivot(index="seed", columns="arm", values="value")[arms].to_numpy(float)


def _draws(seeds: int) -> Iterator[np.ndarray]:
    """The same sets of seeds, drawn with replacement, each time."""
    rng = np.random.default_rng(0)
    return (rng.integers(seeds, size=seeds) for _ in range(DRAWS))
