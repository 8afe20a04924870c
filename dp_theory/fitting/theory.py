"""The theory's error curves: means and scatter of the points of a `Curve`, for many sets of parameters at once.

Rows are labelled by w_g, flips besides; the ridge is per *training* row, as in `sweep`. The labeller's own error is a
floor: w_hat's part off the plane of w_g and w_s is turned at random against w0's, so that with θ = π·E against w_g

    cos πE = cos θ · cos(π·floor)             as in dp_theory.practice for a labeller
    Var[cos πE] = (cos(π·floor) sin θ)² Var θ + (sin(π·floor) sin θ)²/d
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from dp_base.errors import ConvergenceError
from dp_theory.fitting.curve import Curve, Mask
from dp_theory.numerics.checks import Array
from dp_theory.practice.additions import Window
from dp_theory.practice.practice_problem import PracticeProblem
from dp_theory.practice.prediction import solve_stages
from dp_theory.ridge.finite import scatter
from dp_theory.rules import RULES, Direct, KeepAll, Rule

MOST_ROUNDS = 14  # of a practice loop that is solved: longer ones take as many larger steps


def predict_points(curve: Curve, values: Mapping[str, Any]) -> tuple[Array, Array]:
    """Means and standard deviations of single experiments, (sets, points); values: an array (sets,) per parameter.

    Practice has the mean of the limit d → ∞, and no deviation (nan). What has no solution is nan.
    """
    sets = len(values["dimension"])
    mean, deviation = np.full((2, sets, len(curve)), np.nan)
    for pool in _pools(curve):
        mean[:, pool.rows], deviation[:, pool.rows] = _scatter(pool, values)
    if curve.practised.any():
        loop = curve.at(curve.practised)
        for i in range(sets):
            mean[i, curve.practised] = _practised(loop, {name: float(value[i]) for name, value in values.items()})
    floor, d = (np.asarray(values[name])[:, None] for name in ("floor", "dimension"))
    return with_floor(mean, deviation, floor, d)


def with_floor(error: Any, deviation: Any, floor: Any, d: Any) -> tuple[Any, Any]:
    """Test error and its deviation against the truth, from those against the labeller, whose own error is `floor`."""
    cosine, sine = np.cos(np.pi * floor), np.sin(np.pi * floor)
    seen = np.cos(np.pi * error) * cosine
    off = np.sin(np.pi * error)
    scattered = np.hypot(cosine * np.pi * deviation, sine / np.sqrt(d)) * off
    return np.arccos(seen) / np.pi, scattered / np.sqrt(1 - seen**2) / np.pi


class _Pool(NamedTuple):
    """Points of a curve whose rows are of one kind."""

    rows: Mask  # which points (all points,)
    rule: Rule
    size: Array  # rows of the pool (points,)
    ridge: Array  # of a pool's row, over that of a training row (points,)


def _pools(curve: Curve) -> Iterator[_Pool]:
    """The points without practice."""
    plain, pruned = curve.plain, curve.strategy == "prune"
    if plain.any():
        count = curve.kept[plain]
        yield _Pool(plain, KeepAll(), count, np.ones(len(count)))
    for rows in (curve.selected & pruned, curve.selected & ~pruned):
        if rows.any():
            rule, keep = RULES[curve.rule].with_keep_fraction(curve.keep[rows]), curve.keep[rows]
            if pruned[rows].all():
                yield _Pool(rows, rule, curve.generated[rows], keep)
            else:
                yield _Pool(rows, Direct(rule), curve.kept[rows], np.ones(len(keep)))


def _scatter(pool: _Pool, values: Mapping[str, Any]) -> Array:
    """Means and standard deviations (2, sets, points) against the labeller: Theorem 1 at finite dimension."""
    shape = (len(values["dimension"]), len(pool.size))

    def flat(x: Any) -> Array:
        return np.broadcast_to(x, shape).ravel()

    flip, d, ridge, rho = (flat(np.asarray(values[name])[:, None]) for name in ("flip", "dimension", "ridge", "rho"))
    if isinstance(pool.rule, KeepAll):  # whatever w_s
        rho = np.ones(rho.size)
    moments, _, fourth = pool.rule.map(flat).up_to_fourth(rho)
    with np.errstate(all="ignore"):
        means, deviations = scatter(
            moments.flipped(flip), fourth.flipped(flip), rho, d / flat(pool.size), ridge * flat(pool.ridge), d
        )
    return np.stack([means[0], deviations[0]]).reshape(2, *shape)


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
