"""The best constant window for the practice loop."""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from dp_theory.loop.groups import Addition, Window
from dp_theory.loop.prediction import solve_stages
from dp_theory.loop.problems import PracticeProblem
from dp_theory.numerics.checks import Array, Float, require_whole
from dp_theory.numerics.costs import SMALLEST_KEEP
from dp_theory.rules import KeepAll, KeepHard

_LOWEST = -4.0  # ln kappa from which windows are tried, unless narrower ones are possible
_HIGHEST = 9.0  # ln kappa up to which they are tried
_SPACING = 0.5  # of ln kappa
_ROUNDING = 1e-9  # relative difference of errors that are the same


def best_window(
    problem: PracticeProblem,
    rounds: int,
    *,
    kept: float | None = None,
    candidates: float | None = None,
) -> tuple[float, Float[Array, " stages"]]:
    """The best constant kappa of |t| < kappa·tan(πE) for the error after the last round, and its test errors.

    A round keeps or looks at exactly one of `kept` and `candidates` rows, in units of n, and keeps the share
    SMALLEST_KEEP or more.
    """
    require_whole(rounds=rounds)
    rows = Addition(candidates, kept)
    narrowest = KeepHard.with_keep_fraction(SMALLEST_KEEP).alpha

    def errors(kappa: float) -> Array:
        def plan(test_error: float) -> Addition:
            keep = KeepHard(max(Window(kappa).threshold(test_error), narrowest)) if kappa < np.inf else KeepAll()
            return replace(rows, keep=keep)

        return solve_stages(replace(problem, additions=[plan] * rounds)).test_error

    def log_error(log_kappa: float) -> float:
        return float(np.log(errors(np.exp(log_kappa))[-1]))

    keeping_all = errors(np.inf)
    lowest = min(_LOWEST, float(np.log(narrowest / np.tan(np.pi * keeping_all[0]))))
    # narrow windows, wide ones and none may each have a minimum of the error
    grid = np.append(np.arange(lowest, _HIGHEST, _SPACING), np.inf)
    found = [log_error(log_kappa) for log_kappa in grid]
    if found[-1] <= min(found) + _ROUNDING:  # so wide a window keeps all
        return np.inf, keeping_all
    place = int(np.argmin(found))
    best = float(grid[place])
    if place > 0:
        ends = (best - _SPACING, best + _SPACING)
        near: Any = minimize_scalar(log_error, bounds=ends, method="bounded")
        best = float(near.x) if near.fun < found[place] else best
    return float(np.exp(best)), errors(np.exp(best))
