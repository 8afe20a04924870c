"""Theory and simulation: the tidy table of a predicted line and the simulated points on it."""

from typing import Any

import pandas as pd
from dp_figures.tables import predicted, simulated
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
    finite: dict[str, Any] = {"d": d} if band else {}
    on_line: Any = predict(line, **finite)
    drawn = predicted(x=x_line, y=on_line.test_error, **groups)
    if band:
        drawn["y_low"], drawn["y_high"] = on_line.band()
    seen = simulate(points, d=d, trials=trials, engine="law", workers=cpu_count())
    z = (seen.test_error - predict(points, **finite).test_error) / seen.test_error_se
    held = simulated(x=x_points, y=seen.test_error, se=seen.test_error_se, n_seeds=trials, z=z, **groups)
    return pd.concat([drawn, held], ignore_index=True)


def as_accuracy(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with accuracy, 1 - error, in percent."""
    accuracy = 100 * (1 - table[["y", "y_low", "y_high"]])
    return table.assign(y=accuracy["y"], y_low=accuracy["y_high"], y_high=accuracy["y_low"])


def agreement_in_words(table: pd.DataFrame) -> str:
    """What a caption says of theory against simulation; cells share random numbers, so their z are correlated."""
    points = table.query("kind == 'simulated'")
    size = points["z"].abs()
    trials = points["n_seeds"].iloc[0]
    lines = "theory, the limit d → ∞"
    if table.query("kind == 'predicted'")["y_low"].notna().any():
        lines = "theory in this dimension, to first order in 1/d, in the band where 95% of single experiments lie"
    return (
        f"Lines: {lines}; points: mean of {trials:.0f} simulated experiments, bars of one standard "
        f"error (mostly smaller than the marker). |z| ≤ 2 in {(size <= 2).mean():.0%} of {len(size)} cells, where "
        f"noise alone gives 95%; at most {size.max():.1f}."
    )
