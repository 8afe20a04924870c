"""Which way to spend a budget is best where, and whether a sweep's points lie on their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float, Int

_AGREE = 1e-6  # relative difference of errors that are the same


class _Interpolated(NamedTuple):
    log_error: Float[np.ndarray, " grid"]  # inf where the curve is not known
    doubt: Float[np.ndarray, " grid"]  # by how much interpolation may be wrong


def noise_check(table: pd.DataFrame) -> dict[str, float]:
    """The largest |z|, its 95 % limit by noise alone (Student t, Bonferroni), the points, and the largest standard
    error.
    """
    from scipy.stats import t

    points = table.query("kind == 'simulated'")
    level = t.isf(0.025 / len(points), np.maximum(points["n_seeds"].min() - 1, 1))
    return {
        "largest_z": float(points["z"].abs().max()),
        "noise_level": float(level),
        "points": len(points),
        "largest_se": float(points["se"].max()),
    }


def winners(table: pd.DataFrame) -> pd.DataFrame:
    """The best series by predicted error, for each interval of x and each alpha, rho and lam."""
    import pandas as pd

    rows = []
    for (alpha, rho, lam), group in table.query("kind == 'predicted'").groupby(["alpha", "rho", "lam"]):
        curves = {name: curve.sort_values("x") for name, curve in group.groupby("series", sort=False)}
        grid = np.unique(group["x"])
        leader = _leaders([_interpolated(curve, grid) for curve in curves.values()])
        starts = np.r_[0, np.flatnonzero(np.diff(leader)) + 1]
        ends = np.r_[starts[1:], len(grid) - 1]
        for start, end in zip(starts, ends, strict=True):
            series = list(curves)[leader[start]]
            rows.append(
                {"alpha": alpha, "rho": rho, "lam": lam, "from": grid[start], "to": grid[end], "series": series}
            )
    return pd.DataFrame(rows)


def _interpolated(curve: pd.DataFrame, grid: np.ndarray) -> _Interpolated:
    from scipy.interpolate import PchipInterpolator

    at = np.log(grid)
    # sizes may differ by rounding only
    known, places = np.unique(np.log(curve["x"].to_numpy(float)), return_index=True)
    values = np.log(curve["y"].to_numpy(float))[places]
    chords = np.interp(at, known, values, left=np.inf, right=np.inf)
    inside = np.isfinite(chords)
    log_error = chords.copy()
    doubt = np.zeros(len(grid))
    if len(known) > 1:
        log_error[inside] = PchipInterpolator(known, values)(at[inside])
        doubt[inside] = np.abs(log_error[inside] - chords[inside])  # a cubic is nearer to the curve than its chords
    return _Interpolated(log_error, doubt + _AGREE)


def _leaders(curves: list[_Interpolated]) -> Int[np.ndarray, " grid"]:
    """A leader stays until another curve is better beyond doubt."""
    log_errors = np.stack([curve.log_error for curve in curves])
    doubts = np.stack([curve.doubt for curve in curves])
    found: list[int] = []
    leader = 0
    for errors, doubt in zip(log_errors.T, doubts.T, strict=True):
        best = int(np.argmin(errors))
        if not found or errors[leader] > errors[best] + doubt[leader] + doubt[best]:
            leader = int(np.flatnonzero(errors <= errors[best] + doubt + doubt[best])[0])
        found.append(leader)
    return np.array(found)
