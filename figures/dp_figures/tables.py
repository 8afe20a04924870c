"""The tidy table that figures take: a row for each point, with the kind of its number.

Its columns are

    series, kind (predicted | simulated | measured | reported), x, y, y_low, y_high, n_seeds

and those by which a plot groups its points. y_low and y_high are the ends of the error bar, nan if there is none.
"""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dp_figures import style

COLUMNS = ("series", "kind", "x", "y", "y_low", "y_high", "n_seeds")
KINDS = ("predicted", *style.POINTS)


def _points(
    kind: str, series: Any, x: ArrayLike, y: ArrayLike, se: ArrayLike = np.nan, n_seeds: Any = 1, **groups: Any
) -> pd.DataFrame:
    """Each argument is one value, or has a value for each point. se: one standard error, nan if there is none."""
    each = np.empty(np.shape(series) or 1)
    x, y, se, _ = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float), np.asarray(se, float), each)
    columns = {"series": series, "kind": kind, "x": x, "y": y, "y_low": y - se, "y_high": y + se, "n_seeds": n_seeds}
    return pd.DataFrame(columns | groups)


predicted = partial(_points, "predicted", n_seeds=0)
"""Points of a line from theory: predicted(series, x, y, **groups). They have no error."""
simulated = partial(_points, "simulated")
"""Means over `n_seeds` simulated experiments: simulated(series, x, y, se, n_seeds, **groups)."""
measured = partial(_points, "measured")
"""Means over `n_seeds` runs: measured(series, x, y, se, n_seeds, **groups); a single run has no error."""
reported = partial(_points, "reported")
"""Numbers from the paper, each of a single run: reported(series, x, y, **groups)."""


def check_table(table: pd.DataFrame, *groups: str) -> pd.DataFrame:
    """The table, with floats for its numbers and rows that are counted from 0.

    Raises ValueError if a column, of COLUMNS or `groups`, is missing, or has no value in a row but for an error bar, if
    there are no rows, a kind is unknown, x or y is not finite, one end alone of an error bar is finite, or y lies
    outside.
    """
    missing = [column for column in (*COLUMNS, *groups) if column not in table.columns]
    if missing:
        raise ValueError(f"the table lacks the columns {missing}; it has {list(table.columns)}")
    if table.empty:
        raise ValueError("the table has no rows: there is nothing to draw")
    unknown = [kind for kind in table["kind"].unique() if kind not in KINDS]
    if unknown:
        raise ValueError(f"unknown kind {unknown}: must be one of {list(KINDS)}")
    table = table.reset_index(drop=True).astype(dict.fromkeys(("x", "y", "y_low", "y_high"), float))
    x, y, low, high = table[["x", "y", "y_low", "y_high"]].to_numpy().T
    named = ["series", *groups]
    _refuse_rows(table, table[named].isna().any(axis=1).to_numpy(), f"{' and '.join(named)} must be given")
    _refuse_rows(table, ~np.isfinite(x + y), "x and y must be finite")
    _refuse_rows(table, (low > y) | (high < y), "y must lie between y_low and y_high")
    _refuse_rows(table, np.isfinite(low) != np.isfinite(high), "y_low and y_high must both be finite, or neither")
    return table


def _refuse_rows(table: pd.DataFrame, wrong: np.ndarray, rule: str) -> None:
    """Raise ValueError for the first row that is `wrong` (bool, by row)."""
    if wrong.any():
        raise ValueError(f"{rule}, but not in row {dict(table.iloc[int(np.argmax(wrong))])}")
