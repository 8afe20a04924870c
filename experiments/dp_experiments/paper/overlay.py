"""Theory and simulation: the tidy table of a predicted line and the simulated points on it."""

from typing import Any

import numpy as np
import pandas as pd
from joblib import cpu_count
from numpy.typing import ArrayLike

from dp_theory import Problem, predict, simulate


def overlay(
    line: Problem,
    points: Problem,
    x_line: ArrayLike,
    x_points: ArrayLike,
    *,
    d: int,
    trials: int,
    band: bool = False,
    **groups: Any,
) -> pd.DataFrame:
    """Test errors of the problems `line`, predicted at x_line, and `points`, simulated at x_points.

    Theory is the limit d → ∞; with `band` it is the mean in dimension d, with the band of 95 % of single experiments.
    Points have one standard error.
    """
    x_line = np.asarray(x_line, float)
    x_points = np.asarray(x_points, float)
    predicted = pd.DataFrame({"kind": "predicted", "x": x_line})
    if band:
        finite = predict(line, d=d)
        low, high = finite.band()
        predicted = predicted.assign(y=finite.test_error, y_low=low, y_high=high)
        theory = predict(points, d=d).test_error
    else:
        predicted = predicted.assign(y=predict(line).test_error)
        theory = predict(points).test_error
    simulation = simulate(points, d=d, trials=trials, engine="law", workers=cpu_count())
    error = simulation.test_error
    se = simulation.test_error_se
    simulated = pd.DataFrame(
        {
            "kind": "simulated",
            "x": x_points,
            "y": error,
            "y_low": error - se,
            "y_high": error + se,
            "n_seeds": trials,
            "z": (error - theory) / se,
        }
    )
    return pd.concat([predicted, simulated], ignore_index=True).assign(**groups)


def as_accuracy(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with accuracy, 1 - error, in percent."""
    accuracy = 100 * (1 - table[["y", "y_low", "y_high"]])
    return table.assign(y=accuracy["y"], y_low=accuracy["y_high"], y_high=accuracy["y_low"])


def agreement_in_words(table: pd.DataFrame) -> str:
    """What a caption says of theory against simulation; cells share random numbers, so their z are correlated."""
    simulated = table.query("kind == 'simulated'")
    size = simulated["z"].abs()
    trials = simulated["n_seeds"].iloc[0]
    lines = "theory, the limit d → ∞"
    if table.query("kind == 'predicted'")["y_low"].notna().any():
        lines = "theory in this dimension, to first order in 1/d, in the band where 95% of single experiments lie"
    return (
        f"Lines: {lines}; points: mean of {trials:.0f} simulated experiments, bars of one standard "
        f"error (mostly smaller than the marker). |z| ≤ 2 in {(size <= 2).mean():.0%} of {len(size)} cells, where "
        f"noise alone gives 95%; at most {size.max():.1f}."
    )
