"""How many more samples reach a target error, with each strategy, and which one to use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import erf

from dp_theory.checks import Array, require, require_number
from dp_theory.costs import DIRECT_COST, TRAINING_COST, Costs, require_axis, require_costs
from dp_theory.fitting.curve import Curve
from dp_theory.fitting.fit import Fit
from dp_theory.fitting.theory import MOST_ROUNDS, pool_sizes

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
    """A row per strategy: how much more of `x` (an axis of dp_theory.costs) reaches the target error; the best first.

    All go on from the plain rows that the curve's largest plain point has, or the first pool of its practice:

        static             more plain rows
        prune              the learner on those rows looks at plain candidates and keeps those near its boundary, once
        practice           the same rows, generated where each newest learner wants them: rounds as large as the
                           first pool, or if FEW of them do not suffice, in MOST_ROUNDS that grow with the pool
        prune as measured  if the curve tells the selector's rho: a pool from nothing, of the share that the curve kept

    prune and practice keep |t| < window·tan(πE), by the fitted window, or 1 where the curve has no practice. Columns:
    strategy, more, low, high (the profile-likelihood interval; inf: may never reach the target), kept (training rows in
    all), use ("yes" for the least; "as good" where intervals overlap with it), note.

    direct_cost, training_cost: of `Costs`, and only for "compute"; DIRECT_COST and TRAINING_COST unless given.

    Raises InputError for a target outside (0, 1/2), an unknown axis, and costs that are negative, no numbers, or not
    counted.
    """
    import pandas as pd

    require_number(target=target)
    require_axis(x, direct_cost=direct_cost, training_cost=training_cost)
    training_cost = TRAINING_COST if training_cost is None else training_cost
    direct_cost = DIRECT_COST if direct_cost is None else direct_cost
    require_costs(direct=direct_cost, training=training_cost)
    require("target", target, 0 < target < 0.5, "lie in (0, 1/2): it is a test error")
    costs, curve = Costs(direct=direct_cost, training=training_cost), fitted.curve
    start = float(np.max(curve.kept[curve.plain]) if curve.plain.any() else np.min(curve.initial))
    reason = fitted.why_fixed.get("window", "").partition(": ")[2]  # none of one that was given
    note = f"window = 1 is assumed: {reason}" if reason else ""
    rows = [("static", *_reached(fitted, _static(start), target, level, x, costs, start), "")]
    for name, once in (("prune", True), ("practice", False)):
        rows.append((name, *_reached(fitted, _loop(start, once), target, level, x, costs, start), note))
    if "rho" not in fitted.why_fixed:
        keep = float(np.median(curve.keep[curve.selected]))
        found = _reached(fitted, _pruned(start, keep, curve.rule), target, level, x, costs, 0.0)
        rows.append(("prune as measured", *found, f"from nothing, keeps {keep:.3g}"))
    table = pd.DataFrame(rows, columns=["strategy", "more", "low", "high", "kept", "note"])
    table = table.sort_values("more", kind="stable", ignore_index=True)
    best = table.iloc[0]
    overlap = (table["low"] <= best["high"]) & np.isfinite(table["more"])
    use = np.where(np.isfinite(best["more"]) & (table.index == 0), "yes", np.where(overlap, "as good", "no"))
    table.insert(1, "use", use)
    return table


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


def _reached(
    fitted: Fit, curves: list[Curve], target: float, level: float, x: str, costs: Costs, start: float
) -> tuple[float, float, float, float]:
    """More of x at which the mean and the two ends of its interval reach the target, and training rows of the mean."""
    found: tuple[float, ...] = (np.inf,) * 4
    for points in curves:
        table = fitted.bands(points, level)
        ends = [np.log(table[name].to_numpy()) for name in ("error", "low", "high")]
        counted = _counted(fitted, points, table["error"].to_numpy(), x, costs, start)
        sizes = [_crossing(np.log(target), values, points.kept) for values in ends]
        found = (*(float(np.interp(s, points.kept, counted, right=np.inf)) for s in sizes), sizes[0])
        if np.isfinite(sizes[2]):
            break
    return found[0], found[1], found[2], found[3]


def _counted(fitted: Fit, points: Curve, errors: Array, x: str, costs: Costs, start: float) -> Array:
    """What the axis counts at the points, beyond what the present rows took."""
    once = bool(points.practised.all() and points.kept[-1] - points.initial[-1] == points.increment[-1])
    strategy = "direct" if points.practised.any() and not once else "static"
    generated = points.generated
    if once:  # the first learner's window holds a share of the candidates
        floor = np.cos(np.pi * fitted.values["floor"])
        against_labels = np.arccos(np.clip(np.cos(np.pi * errors[0]) / floor, -1, 1))
        share = erf(fitted.values["window"] * np.tan(against_labels) / np.sqrt(2))
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
