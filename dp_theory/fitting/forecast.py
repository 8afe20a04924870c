"""How many more samples reach a target error, with each strategy, and which one to use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import erf

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.fit import Fit
from dp_theory.fitting.theory import MOST_ROUNDS, pool_sizes, predict_points
from dp_theory.numerics.checks import Array, require, require_number
from dp_theory.numerics.costs import TRAINING_COST, Costs, require_axis, require_costs

if TYPE_CHECKING:
    import pandas as pd

FARTHEST = 1e4  # times the present pool: what is looked at of plain rows
_POINTS = 13  # of a curve whose every point is a fit
FEW = 6  # rounds as large as the first pool, which a forecast considers before larger ones


def forecast(
    fitted: Fit,
    target: float,
    *,
    x: str = "generated",
    level: float = 0.95,
    direct_cost: float | None = None,
    training_cost: float | None = None,
) -> pd.DataFrame:
    """A row per strategy: how much more of `x` (an axis of dp_theory.numerics.costs) reaches the target error; the best
    first.

    All go on from the plain rows that the curve's largest plain point has, or the first pool of its practice:

        static             more plain rows
        prune              the learner on those rows looks at plain candidates and keeps those near its boundary, once
        practice           the same rows, generated where each newest learner wants them: FEW rounds as large as the
                           first pool; or MOST_ROUNDS that grow with the pool, if only these suffice, in the mean or
                           wherever the parameters may be
        prune as measured  if the curve tells the selector's rho: a pool from nothing, of the share that the curve kept

    prune and practice keep |t| < window·tan(πE), by the fitted window, or 1 where the curve has no practice. Rows that
    reach the target as they are need none. Columns: strategy, use, more, low, high, kept (training rows in all), note.

    low, high: what it takes within the region of likely parameters; inf: may never reach the target. It holds the
    profile-likelihood interval, for practice that to first order, and what it takes where each parameter is at an end
    of its interval with the others refitted, since at an end of a range, as for a floor of 0, first order sees nothing.
    high is inf where the floor may be as high as the target. use: "yes" where all others' intervals lie above;
    "as good" for the least and those whose intervals overlap with its own; else "no".

    direct_cost, training_cost: of `Costs`, and only for "compute"; DIRECT_COST and TRAINING_COST unless given.

    Raises InputError for a target outside (0, 1/2), an unknown axis, and costs that are negative, no numbers, or not
    counted.
    """
    import pandas as pd

    require_number(target=target)
    require_axis(x, direct_cost=direct_cost, training_cost=training_cost)
    costs = Costs(direct=direct_cost, training=TRAINING_COST if training_cost is None else training_cost)
    require_costs(direct=costs.sample("direct"), training=costs.training)
    require("target", target, 0 < target < 0.5, "lie in (0, 1/2): it is a test error")
    curve = fitted.curve
    start = float(np.max(curve.kept[curve.plain]) if curve.plain.any() else np.min(curve.initial))
    reason = fitted.why_fixed.get("window", "").partition(": ")[2]  # none of one that was given
    note = f"window = 1 is assumed: {reason}" if reason else ""
    asked = _Asked(fitted, target, level, x, costs, fitted.outermost(level))
    rows = [("static", *_reached(asked, _static(start), start), "")]
    for name, once in (("prune", True), ("practice", False)):
        rows.append((name, *_reached(asked, _loop(start, once), start), note))
    if "rho" not in fitted.why_fixed:
        keep = float(np.median(curve.keep[curve.selected]))
        found = _reached(asked, _pruned(start, keep, curve.rule), 0.0)
        rows.append(("prune as measured", *found, f"from nothing, keeps {keep:.3g}"))
    table = pd.DataFrame(rows, columns=["strategy", "more", "low", "high", "kept", "note"])
    table = table.sort_values("more", kind="stable", ignore_index=True)
    if target <= fitted.limits("floor", level)[1]:
        table["high"] = np.inf
    table.insert(1, "use", _use(table))
    return table


def _use(table: pd.DataFrame) -> Array:
    """Which to use (strategies,), the least first: one only if no other's interval overlaps with its own."""
    best = table.iloc[0]
    alike = (table["low"] <= best["high"]) & np.isfinite(table["low"]) & np.isfinite(best["more"])
    return np.where(alike, "as good" if alike.sum() > 1 else "yes", "no")


@dataclass(frozen=True)
class _Asked:
    """What is asked of every strategy. places: parameters (places,) on the edge of the region of likely ones."""

    fitted: Fit
    target: float
    level: float
    x: str
    costs: Costs
    places: dict[str, Array]

    def more(self, points: Curve, values: dict[str, float], mean: Array, errors: Array, start: float) -> float:
        """More of x at which errors (points,) reach the target, where the mean and the parameters are these."""
        counted = _counted(values, points, mean, self.x, self.costs, start)
        size = self.reached(errors, points.kept, start)
        return float(np.interp(size, points.kept, counted, right=np.inf)) if size > start else 0.0

    def reached(self, errors: Array, sizes: Array, start: float) -> float:
        """The size at which errors (points,) reach the target: the start, if errors there do already."""
        if start and errors[0] <= self.target:
            return start
        return _crossing(np.log(self.target), np.log(errors), sizes)


def _static(start: float) -> list[Curve]:
    sizes = np.geomspace(start, start * FARTHEST, _POINTS)
    return [_points("static", sizes)]


def _pruned(start: float, keep: float, rule: str) -> list[Curve]:
    sizes = np.geomspace(max(start * keep / 16, 2), start * FARTHEST * keep, _POINTS)
    return [_points("prune", sizes, keep=keep, generated=sizes / keep, rule=rule)]


def _loop(start: float, once: bool) -> list[Curve]:
    """Near and far: loops of the first pool and rows near the learner's boundary. once: a round for each size."""
    near = pool_sizes(start, start, (FEW + 1) * start)
    far = np.geomspace(start, 2.0**FEW * start, MOST_ROUNDS + 1)
    return [
        _points("practice", sizes, initial=start, increment=np.maximum(sizes - start, 1.0) if once else start)
        for sizes in (near, far)
    ]


def _points(strategy: str, sizes: Array, **more: Any) -> Curve:
    return Curve(np.full(len(sizes), strategy), sizes, np.full(len(sizes), 0.25), **more)


def _reached(asked: _Asked, plans: list[Curve], start: float) -> tuple[float, float, float, float]:
    """More of x at which the mean reaches the target, its least and its most, and training rows of the mean.

    Of the first plan that reaches it wherever the parameters may be; if none does, of the first whose mean reaches it.
    """
    found = []
    for points in plans:
        table = asked.fitted.bands(points, asked.level)
        mean, low, high = (table[name].to_numpy() for name in ("error", "low", "high"))
        more, *ends = (asked.more(points, asked.fitted.values, mean, errors, start) for errors in (mean, low, high))
        for i, errors in enumerate(predict_points(points, asked.places)[0]):
            if np.isfinite(errors).all():  # else the theory has no solution there
                values = {name: float(value[i]) for name, value in asked.places.items()}
                ends.append(asked.more(points, values, errors, errors, start))
        kept = asked.reached(mean, points.kept, start)
        found.append((more, min(ends), max(ends), kept))
        if np.isfinite(max(ends)):
            return found[-1]
    return next((each for each in found if np.isfinite(each[0])), found[-1])


def _counted(values: dict[str, float], points: Curve, errors: Array, x: str, costs: Costs, start: float) -> Array:
    """What the axis counts at the points, beyond what the present rows took."""
    once = bool(points.practised.all() and points.kept[-1] - points.initial[-1] == points.increment[-1])
    strategy = "direct" if points.practised.any() and not once else "static"
    generated = points.generated
    if once:  # the first learner's window holds a share of the candidates
        floor = np.cos(np.pi * values["floor"])
        against_labels = np.arccos(np.clip(np.cos(np.pi * errors[0]) / floor, -1, 1))
        share = erf(values["window"] * np.tan(against_labels) / np.sqrt(2))
        generated = points.initial + (points.kept - points.initial) / share
    first = start if points.practised.any() else 0.0
    spent = costs.axes("static", start, start)[x] if start else 0.0
    return costs.axes(strategy, generated, points.kept, first=first)[x] - spent


def _crossing(level: float, values: Array, sizes: Array) -> float:
    """Where values fall below the level for good, between the sizes; inf where the last is above."""
    from scipy.interpolate import PchipInterpolator

    above = np.flatnonzero(values > level)
    if not above.size:
        return float(sizes[0])
    last = int(above[-1])
    if last == len(values) - 1:
        return np.inf
    roots = PchipInterpolator(np.log(sizes), values - level).roots(extrapolate=False)
    return float(np.exp(max(root for root in roots if root <= np.log(sizes[last + 1]) + 1e-9)))
