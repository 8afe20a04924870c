"""Which way to spend a budget is best where, and whether a sweep's points lie on their lines."""

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator
from scipy.stats import t

# Relative difference of sizes that are the same.
_ROUNDED = 1e-6
# Relative difference of errors that are the same, as interpolation between sizes is wrong by about as much.
_AGREE = 1e-3


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
    """The best series by predicted error, for each interval of x that all have, and each alpha, rho and lam."""
    rows = []
    for (alpha, rho, lam), group in table.query("kind == 'predicted'").groupby(["alpha", "rho", "lam"]):
        ends = group.groupby("series")["x"].agg(["min", "max"])  # where all have predictions, but for rounding
        inside = group["x"].between(ends["min"].max() * (1 - _ROUNDED), ends["max"].min() * (1 + _ROUNDED))
        grid = np.unique(group["x"][inside])
        if not len(grid):
            continue
        curves = {name: _interpolated(curve, grid) for name, curve in group.groupby("series", sort=False)}
        names, log_errors = list(curves), np.array(list(curves.values()))
        best_lines = (log_errors <= log_errors.min(axis=0) + _AGREE).argmax(axis=0)  # the first of those that agree
        starts = np.r_[0, np.flatnonzero(np.diff(best_lines)) + 1]
        ends = np.r_[starts[1:], len(grid) - 1]
        setting = {"alpha": alpha, "rho": rho, "lam": lam}
        for i, j in zip(starts, ends, strict=True):
            rows.append(setting | {"from": grid[i], "to": grid[j], "series": names[best_lines[i]]})
    return pd.DataFrame(rows, columns=["alpha", "rho", "lam", "from", "to", "series"])


def _interpolated(curve: pd.DataFrame, grid: np.ndarray) -> np.ndarray:
    """ln error at each size of the grid."""
    known, places = np.unique(np.log(curve["x"].to_numpy(float)), return_index=True)  # sizes may differ by rounding
    values = np.log(curve["y"].to_numpy(float))[places]
    at = np.clip(np.log(grid), known[0], known[-1])
    return PchipInterpolator(known, values)(at) if len(known) > 1 else np.full(len(grid), values[0])
