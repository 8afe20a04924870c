"""The table that figures take: a row per point, with the kind of its number.

    series, kind (predicted | simulated | measured | reported), x, y, y_low, y_high, n_seeds

and the columns that a plot groups by. y_low and y_high are the ends of the error bar, nan if there is none.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from figures import style

COLUMNS = ("series", "kind", "x", "y", "y_low", "y_high", "n_seeds")
KINDS = tuple(style.KINDS)


def predicted(series: Any, x: ArrayLike, y: ArrayLike, **groups: Any) -> pd.DataFrame:
    """Points of a line from theory. They have no error."""
    return _table("predicted", series, x, y, np.nan, 0, groups)


def simulated(series: Any, x: ArrayLike, y: ArrayLike, se: ArrayLike, n_seeds: Any, **groups: Any) -> pd.DataFrame:
    """Means over n_seeds simulated experiments, with one standard error."""
    return _table("simulated", series, x, y, se, n_seeds, groups)


def measured(
    series: Any, x: ArrayLike, y: ArrayLike, se: ArrayLike = np.nan, n_seeds: Any = 1, **groups: Any
) -> pd.DataFrame:
    """Means over n_seeds runs, with one standard error; nan for a single run."""
    return _table("measured", series, x, y, se, n_seeds, groups)


def reported(series: Any, x: ArrayLike, y: ArrayLike, **groups: Any) -> pd.DataFrame:
    """Numbers from the paper, each of a single run."""
    return _table("reported", series, x, y, np.nan, 1, groups)


def _table(
    kind: str, series: Any, x: ArrayLike, y: ArrayLike, se: ArrayLike, n_seeds: Any, groups: dict[str, Any]
) -> pd.DataFrame:
    """One row per point. Each argument is one value, or one value per point."""
    x, y, se = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float), np.asarray(se, float))
    columns = {"series": series, "kind": kind, "x": x, "y": y, "y_low": y - se, "y_high": y + se, "n_seeds": n_seeds}
    return pd.DataFrame(columns | groups)


def check_table(table: pd.DataFrame, *groups: str) -> None:
    """Raise ValueError unless `table` has rows, these columns, known kinds, finite x and y, y within its interval."""
    missing = [column for column in (*COLUMNS, *groups) if column not in table.columns]
    if missing:
        raise ValueError(f"the table lacks the columns {missing}; it has {list(table.columns)}")
    if table.empty:
        raise ValueError("the table has no rows: there is nothing to draw")
    unknown = sorted(set(table["kind"]) - set(KINDS))
    if unknown:
        raise ValueError(f"unknown kind {unknown}: must be one of {list(KINDS)}")
    x, y, low, high = (table[column].to_numpy(float) for column in ("x", "y", "y_low", "y_high"))
    for wrong, rule in (
        (~(np.isfinite(x) & np.isfinite(y)), "x and y must be finite"),
        ((low > y) | (high < y), "y must lie between y_low and y_high"),
    ):
        if wrong.any():
            raise ValueError(f"{rule}, but not in row {dict(table.iloc[int(np.argmax(wrong))])}")
