"""Which way to spend a budget is best where, and whether a sweep's points lie on their lines."""

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator
from scipy.stats import t

# Relative difference of errors that are the same.
_AGREE = 1e-6


def noise_check(table: pd.DataFrame) -> dict[str, float]:
    """The largest |z|, its 95 % limit by noise alone (Student t, Bonferroni), the points, and the largest standard
    error. Single trials have neither z nor limit: both are nan.
    """
    points = table.query("kind == 'simulated'")
    level = t.isf(0.025 / len(points), points["n_seeds"].min() - 1)
    return {
        "largest_z": float(points["z"].abs().max()),
        "noise_level": float(level),
        "points": len(points),
        "largest_se": float(points["se"].max()),
    }


def winners(table: pd.DataFrame) -> pd.DataFrame:
    """The best series by predicted error, for each interval of x that all have, and each alpha, rho and lam.

    A leader stays until another curve is better beyond what interpolation may be wrong by.
    """
    rows = []
    for (alpha, rho, lam), group in table.query("kind == 'predicted'").groupby(["alpha", "rho", "lam"]):
        ends = group.groupby("series")["x"].agg(["min", "max"])  # where all have predictions, but for rounding
        inside = group["x"].between(ends["min"].max() * (1 - _AGREE), ends["max"].min() * (1 + _AGREE))
        grid = np.unique(group["x"][inside])
        if not len(grid):
            continue
        curves = {name: _interpolated(curve, grid) for name, curve in group.groupby("series", sort=False)}
        names = list(curves)
        errors, doubts = np.moveaxis(np.array(list(curves.values())), 1, 0)
        best_lines: list[int] = []
        for log_error, doubt in zip(errors.T, doubts.T, strict=True):
            best = int(np.argmin(log_error))
            if not best_lines or log_error[best_lines[-1]] > log_error[best] + doubt[best_lines[-1]] + doubt[best]:
                best_lines.append(int(np.flatnonzero(log_error <= log_error[best] + doubt + doubt[best])[0]))
            else:
                best_lines.append(best_lines[-1])
        starts = np.r_[0, np.flatnonzero(np.diff(best_lines)) + 1]
        ends = np.r_[starts[1:], len(grid) - 1]
        setting = {"alpha": alpha, "rho": rho, "lam": lam}
        for i, j in zip(starts, ends, strict=True):
            rows.append(setting | {"from": grid[i], "to": grid[j], "series": names[best_lines[i]]})
    return pd.DataFrame(rows, columns=["alpha", "rho", "lam", "from", "to", "series"])


def _interpolated(curve: pd.DataFrame, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln error at each size of the grid, inf where it is not known, and by how much that may be wrong."""
    at = np.log(grid)
    known, places = np.unique(np.log(curve["x"].to_numpy(float)), return_index=True)  # sizes may differ by rounding
    values = np.log(curve["y"].to_numpy(float))[places]
    chords = np.interp(at, known, values, left=np.inf, right=np.inf)
    inside = np.isfinite(chords)
    log_error, doubt = chords.copy(), np.zeros(len(grid))
    if len(known) > 1:
        log_error[inside] = PchipInterpolator(known, values)(at[inside])
        doubt[inside] = np.abs(log_error[inside] - chords[inside])  # a cubic is nearer to the curve than its chords
    return log_error, doubt + _AGREE
