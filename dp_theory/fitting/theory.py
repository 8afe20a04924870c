"""The theory's error curves: means and scatter of the points of a `Curve`, for many sets of parameters at once.

Rows are labelled by w_g, flips besides; the ridge is per *training* row, as in `sweep`. The labeller's own error is a
floor: w_hat's part off the plane of w_g and w_s is turned at random against w0's, so that with θ = π·E against w_g

    cos πE = cos θ · cos(π·floor)             as in dp_theory.practice for a labeller
    Var[cos πE] = (cos(π·floor) sin θ)² Var θ + (sin(π·floor) sin θ)²/d
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.checks import Array
from dp_theory.finite import scatter
from dp_theory.fitting.curve import Curve
from dp_theory.practice.prediction import solve_stages
from dp_theory.practice.problem import PracticeProblem, Window
from dp_theory.rules import RULES, Direct, KeepAll

MOST_ROUNDS = 6  # of a practice loop that is solved: longer ones take as many larger steps


def predict_points(curve: Curve, values: Mapping[str, Any]) -> tuple[Array, Array]:
    """Means and standard deviations of single experiments, (sets, points); values: an array (sets,) per parameter.

    Practice has the mean of the limit d → ∞, and no deviation (nan). What has no solution is nan.
    """
    sets = len(values["dimension"])
    mean, deviation = np.full((2, sets, len(curve)), np.nan)
    for rows, select in ((curve.plain, _plain), (curve.selected, _selected)):
        if rows.any():
            cells = {name: np.repeat(value, rows.sum()) for name, value in values.items()}
            some = curve.at(np.tile(np.flatnonzero(rows), sets))
            means, deviations = select(some, cells)
            mean[:, rows], deviation[:, rows] = (x.reshape(sets, -1) for x in (means, deviations))
    if curve.practised.any():
        for i in range(sets):
            mean[i, curve.practised] = _practised(
                curve.at(curve.practised), {k: float(v[i]) for k, v in values.items()}
            )
    floor, d = (np.asarray(values[name])[:, None] for name in ("floor", "dimension"))
    return with_floor(mean, deviation, floor, d)


def with_floor(error: Any, deviation: Any, floor: Any, d: Any) -> tuple[Any, Any]:
    """Test error and its deviation against the truth, from those against the labeller, whose own error is `floor`."""
    cosine, sine = np.cos(np.pi * floor), np.sin(np.pi * floor)
    seen = np.cos(np.pi * error) * cosine
    off = np.sin(np.pi * error)
    scattered = np.hypot(cosine * np.pi * deviation, sine / np.sqrt(d)) * off
    return np.arccos(seen) / np.pi, scattered / np.sqrt(1 - seen**2) / np.pi


def _plain(curve: Curve, cells: dict[str, Array]) -> tuple[Array, Array]:
    """Means and deviations (cells,) against the labeller."""
    rho = np.ones(len(curve))
    return _scatter(KeepAll(), rho, cells, curve.kept, cells["ridge"])


def _selected(curve: Curve, cells: dict[str, Array]) -> tuple[Array, Array]:
    rule = RULES[curve.rule].with_keep_fraction(curve.keep)
    mean, deviation = np.empty((2, len(curve)))
    pruned = curve.strategy == "prune"
    for rows, chosen, count, per_row in (
        (pruned, rule, curve.generated, curve.keep),
        (~pruned, Direct(rule), curve.kept, np.ones(len(curve))),
    ):
        if rows.any():
            some = {name: value[rows] for name, value in cells.items()}
            at = chosen.map(lambda value, rows=rows: np.broadcast_to(value, rows.shape)[rows])
            ridge = some["ridge"] * per_row[rows]
            mean[rows], deviation[rows] = _scatter(at, some["rho"], some, count[rows], ridge)
    return mean, deviation


def _scatter(rule: Any, rho: Array, cells: dict[str, Array], count: Array, ridge: Array) -> tuple[Array, Array]:
    """Theorem 1 at finite dimension; count: the pool's rows (cells,), ridge: per row of the pool."""
    moments = type(rule.moments(rho))(*(np.broadcast_to(x, rho.shape) for x in rule.moments(rho)))
    fourth = rule.fourth_moments(rho)
    flip, d = cells["flip"], cells["dimension"]
    with np.errstate(all="ignore"):
        means, deviations = scatter(moments.flipped(flip), fourth.flipped(flip), rho, d / count, ridge, d)
    return means[0], deviations[0]


def _practised(curve: Curve, values: dict[str, float]) -> Array:
    """Limits (points,) against the labeller of one set of parameters."""
    errors = np.empty(len(curve))
    parameters = [values[name] for name in ("dimension", "window", "flip", "ridge")]
    for initial, increment in set(zip(curve.initial, curve.increment, strict=True)):
        rows = (curve.initial == initial) & (curve.increment == increment)
        sizes, limits = practice_curve(initial, increment, curve.kept[rows].max(), *parameters)
        errors[rows] = np.exp(np.interp(np.log(curve.kept[rows]), np.log(sizes), np.log(limits)))
    return errors


@lru_cache(maxsize=4096)
def practice_curve(
    initial: float, increment: float, last: float, d: float, window: float, flip: float, ridge: float
) -> tuple[Array, Array]:
    """Pool sizes (stages,) of a loop and its errors against the labeller: `initial` plain rows, then rounds to `last`.

    Rows of a round have |t| < window·tan(πE). Rounds are of `increment` rows, or larger where there would be more than
    MOST_ROUNDS. nan where the loop has no solution to its tolerance.
    """
    sizes = pool_sizes(initial, increment, last)
    steps = np.diff(sizes) / initial
    problem = PracticeProblem(
        d / initial, (ridge * sizes / initial).tolist(), [Window(window, float(step)) for step in steps], flip=flip
    )
    try:
        return sizes, solve_stages(problem).test_error
    except (ConvergenceError, ArithmeticError):
        return sizes, np.full(len(sizes), np.nan)


def pool_sizes(initial: float, increment: float, last: float) -> Array:
    """Sizes of the pool, round by round, from `initial` to `last` (stages,)."""
    if last <= initial:
        return np.array([initial])
    rounds = max(1, round((last - initial) / increment))
    if rounds <= MOST_ROUNDS:
        return np.linspace(initial, last, rounds + 1)
    return np.geomspace(initial, last, MOST_ROUNDS + 1)
