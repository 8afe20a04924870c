"""The tidy table that figures take: a row for each point, with the kind of its number.

Its columns are

    series, kind (predicted | simulated | measured | reported), x, y, y_low, y_high, n_seeds

and those by which a plot groups its points. y_low and y_high are the ends of the error bar, nan if there is none.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dp_figures import style

COLUMNS = ("series", "kind", "x", "y", "y_low", "y_high", "n_seeds")
KINDS = ("predicted", *style.POINTS)


def predicted(series: Any, x: ArrayLike, y: ArrayLike, **groups: Any) -> pd.DataFrame:
    """Make a table of points of a line from theory. They have no error."""
    return _table("predicted", series, x, y, np.nan, 0, groups)


def simulated(series: Any, x: ArrayLike, y: ArrayLike, se: ArrayLike, n_seeds: Any, **groups: Any) -> pd.DataFrame:
    """Make a table of means over `n_seeds` simulated experiments, with one standard error."""
    return _table("simulated", series, x, y, se, n_seeds, groups)


def measured(
    series: Any, x: ArrayLike, y: ArrayLike, se: ArrayLike = np.nan, n_seeds: Any = 1, **groups: Any
) -> pd.DataFrame:
    """A table of means over `n_seeds` runs, with one standard error, which is nan for a single run."""
    return _table("measured", series, x, y, se, n_seeds, groups)


def reported(series: Any, x: ArrayLike, y: ArrayLike, **groups: Any) -> pd.DataFrame:
    """Make a table of numbers from the paper, each of a single run."""
    return _table("reported", series, x, y, np.nan, 1, groups)


def _table(
    kind: str, series: Any, x: ArrayLike, y: ArrayLike, se: ArrayLike, n_seeds: Any, groups: dict[str, Any]
) -> pd.DataFrame:
    """Each argument is one value, or has a value for each point."""
    x, y, se = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float), np.asarray(se, float))
    columns = {"series": series, "kind": kind, "x": x, "y": y, "y_low": y - se, "y_high": y + se, "n_seeds": n_seeds}
    return pd.DataFrame(columns | groups)


def check_table(table: pd.DataFrame, *groups: str) -> None:
    """Raise ValueError if a column, of COLUMNS or `groups`, is missing, there are no rows, a kind is unknown, x or y is
    not finite, or y lies outside its interval.
    """
    missing = [column for column in (*COLUMNS, *groups) if column not in table.columns]
    if missing:
        raise ValueError(f"the table lacks the columns {missing}; it has {list(table.columns)}")
    if table.empty:
        raise ValueError("the table has no rows: there is nothing to draw")
    unknown = sorted(set(table["kind"]) - set(KINDS))
    if unknown:
        raise ValueError(f"unknown kind {unknown}: must be one of {list(KINDS)}")
    x = table["x"].to_numpy(float)
    y = table["y"].to_numpy(float)
    low = table["y_low"].to_numpy(float)
    high = table["y_high"].to_numpy(float)
    _refuse_rows(table, ~(np.isfinite(x) & np.isfinite(y)), "x and y must be finite")
    _refuse_rows(table, (low > y) | (high < y), "y must lie between y_low and y_high")


def _refuse_rows(table: pd.DataFrame, wrong: np.ndarray, rule: str) -> None:
    """Raise ValueError for the first row that is `wrong` (bool, by row)."""
    if wrong.any():
        raise ValueError(f"{rule}, but not in row {dict(table.iloc[int(np.argmax(wrong))])}")
