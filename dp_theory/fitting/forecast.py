"""How many samples reach a target error, by strategy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import erf

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.fit import Fit
from dp_theory.fitting.stack import THEORY, Stack, stack, theory_draws
from dp_theory.fitting.theory import MOST_ROUNDS, pool_sizes
from dp_theory.numerics.checks import Array, Float, require_in, require_kind, require_number
from dp_theory.numerics.costs import TRAINING_COST, Costs, require_axis, require_costs

if TYPE_CHECKING:
    import pandas as pd

FARTHEST = 1e4  # the largest pool that is looked at, over the present one
FEW_ROUNDS = 6  # as large as the first pool, which a forecast considers before rounds that grow
LEAST_WEIGHT = 0.15  # of the theory after hidden points, for it to speak of strategies that were not measured
_POINTS = 13  # of a plan with one round at most, each of which is a fit
_SMALLEST_PRUNED = 16  # a pool that is pruned from nothing begins with this fraction of the present rows


def forecast(
    fitted: Fit,
    target: float,
    *,
    x: str = "generated",
    level: float = 0.95,
    direct_cost: float | None = None,
    training_cost: float | None = None,
) -> pd.DataFrame:
    """How much more each strategy takes to reach a target error, the best strategy first.

    All strategies but the last go on from the plain rows of the curve's largest plain point, or from the first pool of
    its practice.

        static             more plain rows
        prune              the learner on those rows looks at plain candidates once, and keeps those near its boundary
        practice           the newest learner says, round by round, where rows are generated: FEW_ROUNDS rounds as large
                           as the first pool, or MOST_ROUNDS that grow with it if only these reach the target
        prune as measured  only if the curve tells the selector's rho: a pool from nothing, pruned to the share that the
                           curve kept

    `prune` and `practice` keep rows with |t| < window·tan(πE), by the fitted window or by 1.

    With plain points at FEWEST_SIZES sizes or more, `static` is foreseen by theory and empirical laws together,
    weighted by hidden tails. The others are answered by the theory alone, and are nan where its weight is below
    LEAST_WEIGHT.

    Parameters
    ----------
    target
        A test error, in (0, 1/2).
    x
        What is counted, one of AXES of dp_theory.numerics.costs.
    direct_cost, training_cost
        Costs in plain samples, if `x` is "compute": by default DIRECT_COST and TRAINING_COST.

    Returns
    -------
    pd.DataFrame
        Columns strategy, use, more, low, high, kept and note, a row for each strategy. `more` is what it takes beyond
        the present rows, and inf where the target is out of reach. `low` and `high` are what it takes within the region
        of likely parameters: the profile-likelihood interval, widened by the ends of the
        parameters' intervals. `high` is inf where the floor may be as high as the target. For `static` by theory and
        laws, they are quantiles of the mixture. `use` is "yes" for the best strategy if all other intervals lie above
        its own, "as good" where they overlap, else "no", and "unknown" where that cannot be told. `kept` counts the
        training rows in all.

    Raises
    ------
    InputError
        For a target outside (0, 1/2), an unknown axis, and costs that are negative, no numbers, or not counted.
    """
    import pandas as pd

    require_kind(Fit, fitted=fitted)
    require_number(target=target)
    require_axis(x, direct_cost=direct_cost, training_cost=training_cost)
    costs = Costs(direct=direct_cost, training=TRAINING_COST if training_cost is None else training_cost)
    require_costs(direct=costs.sample("direct"), training=costs.training)
    require_in("(0, 1/2)", "it is a test error", target=target)
    start = _present_rows(fitted.curve)
    question = _Question(fitted, target, x, level, costs, fitted.outermost(level))
    family = stack(fitted)
    may_not_reach = target <= fitted.limits("floor", level)[1]
    static = question.answer(_static_plans(start), start, may_not_reach)
    judged = ""
    if family is not None:
        static = question.answer_by_family(family, start)
        judged = f"by {family.note()}"
    rows = [("static", *static, judged)]
    _, _, reason = fitted.why_fixed.get("window", "").partition(": ")
    note = f"window = 1 is assumed: {reason}" if reason else ""
    others = [
        ("prune", _loop_plans(start, once=True), start, note),
        ("practice", _loop_plans(start, once=False), start, note),
    ]
    if "rho" not in fitted.why_fixed:
        keep = float(np.median(fitted.curve.keep[fitted.curve.selected]))
        sizes = np.geomspace(max(start * keep / _SMALLEST_PRUNED, 2), start * FARTHEST * keep, _POINTS)
        plans = [_plan("prune", sizes, keep=keep, generated=sizes / keep, rule=fitted.curve.rule)]
        others.append(("prune as measured", plans, 0.0, f"from nothing, keeps {keep:.3g}"))
    for name, plans, present, note_of_plan in others:
        if family is not None and family.weights[THEORY] < LEAST_WEIGHT:
            reason = f"not told: hidden points leave the theory a weight of {family.weights[THEORY]:.2g}"
            rows.append((name, *_UNTOLD, reason))
        else:
            rows.append((name, *question.answer(plans, present, may_not_reach), note_of_plan))
    table = pd.DataFrame(rows, columns=["strategy", *_Answer._fields, "note"])
    table = table.sort_values("more", kind="stable", ignore_index=True)
    table.insert(1, "use", _use(table))
    return table


def _present_rows(curve: Curve) -> float:
    if curve.plain.any():
        return float(np.max(curve.kept[curve.plain]))
    return float(np.min(curve.initial))


def _use(table: pd.DataFrame) -> Array:
    if table["more"].isna().any():
        return np.full(len(table), "unknown")
    best = table.iloc[0]
    may_reach = np.isfinite(table["low"])
    if not np.isfinite(best["more"]):
        return np.where(may_reach, "unknown", "no")
    overlaps = (table["low"] <= best["high"]) & may_reach
    return np.where(overlaps, "as good" if overlaps.sum() > 1 else "yes", "no")


# -- plans: curves without measurements, the sizes that a strategy would go through. The first is tried first.


def _static_plans(start: float) -> list[Curve]:
    return [_plan("static", np.geomspace(start, start * FARTHEST, _POINTS))]


def _loop_plans(start: float, once: bool) -> list[Curve]:
    near = pool_sizes(start, start, (FEW_ROUNDS + 1) * start)
    far = np.geomspace(start, 2.0**FEW_ROUNDS * start, MOST_ROUNDS + 1)
    plans = []
    for sizes in (near, far):
        increment = np.maximum(sizes - start, 1.0) if once else start
        plans.append(_plan("practice", sizes, initial=start, increment=increment))
    return plans


def _plan(strategy: str, sizes: Array, **more: Any) -> Curve:
    return Curve(np.full(len(sizes), strategy), sizes, np.full(len(sizes), 0.25), **more)


# -- answers


class _Answer(NamedTuple):
    more: float
    low: float
    high: float
    kept: float


_UNTOLD = _Answer(np.nan, np.nan, np.nan, np.nan)  # of strategies that the theory does not deserve to speak of


@dataclass(frozen=True)
class _Question:
    fitted: Fit
    target: float
    x: str
    level: float
    costs: Costs
    places: Float[Array, "places free"]  # z on the edge of the region of likely ones

    def answer_by_family(self, family: Stack, start: float) -> _Answer:
        (plan,) = _static_plans(start)
        mean, low, high = self._bands(plan)
        foreseen = family.foreseen(plan.kept, theory_draws(mean, low, high, self.level))
        counted = self._counted(plan, self.fitted.values, mean[0], start)
        tail = (1 - self.level) / 2
        least, middle, most = (
            self._more(plan, counted, foreseen.quantiles(share), start) for share in (tail, 0.5, 1 - tail)
        )
        return _Answer(middle, least, most, self._reached(foreseen.quantiles(0.5), plan.kept, start))

    def answer(self, plans: list[Curve], start: float, may_not_reach: bool) -> _Answer:
        """What the first plan takes that reaches the target for sure, else in the mean, else the last."""
        answers = []
        for plan in plans:
            answers.append(self._answer_of(plan, start))
            if np.isfinite(answers[-1].high):
                break
        else:
            in_the_mean = [answer for answer in answers if np.isfinite(answer.more)]
            answers = in_the_mean[:1] or answers
        return answers[-1]._replace(high=np.inf) if may_not_reach else answers[-1]

    def _bands(self, plan: Curve) -> Array:
        return self.fitted.bands(plan, self.level)[["error", "low", "high"]].to_numpy().T

    def _answer_of(self, plan: Curve, start: float) -> _Answer:
        mean, low, high = self._bands(plan)
        counted = self._counted(plan, self.fitted.values, mean[0], start)
        more = self._more(plan, counted, mean, start)
        ends = [self._more(plan, counted, errors, start) for errors in (low, high)]
        likelihood = self.fitted.likelihood
        at_places, _ = likelihood.predict(plan, self.places)
        for errors, z in zip(at_places, self.places, strict=True):
            if np.isfinite(errors).all():  # else the theory has no solution there
                counted = self._counted(plan, likelihood.values_at(z), errors[0], start)
                ends.append(self._more(plan, counted, errors, start))
        return _Answer(more, min(ends), max(ends), self._reached(mean, plan.kept, start))

    def _more(self, plan: Curve, counted: Array, errors: Array, start: float) -> float:
        size = self._reached(errors, plan.kept, start)
        return float(np.interp(size, plan.kept, counted, right=np.inf)) if size > start else 0.0

    def _reached(self, errors: Array, sizes: Array, start: float) -> float:
        if start and errors[0] <= self.target:
            return start
        return _last_crossing(np.log(self.target), np.log(errors), sizes)

    def _counted(self, plan: Curve, values: Mapping[str, float], first_error: float, start: float) -> Array:
        generated = plan.generated
        strategy = "static"
        if plan.practised.all() and plan.kept[-1] - plan.initial[-1] == plan.increment[-1]:  # a single round
            share = _share_in_window(values["window"], values["floor"], first_error)
            generated = plan.initial + (plan.kept - plan.initial) / share
        elif plan.has_practice:
            strategy = "direct"
        plain = start if plan.has_practice else 0.0
        spent = self.costs.axes("static", start, start)[self.x] if start else 0.0
        return self.costs.axes(strategy, generated, plan.kept, first=plain)[self.x] - spent


def _share_in_window(window: float, floor: float, test_error: float) -> float:
    """P(|t| < window·tan(πE')), E' being the error against labels whose own error is `floor`."""
    against_labels = np.arccos(np.clip(np.cos(np.pi * test_error) / np.cos(np.pi * floor), -1, 1))
    return erf(window * np.tan(against_labels) / np.sqrt(2))


def _last_crossing(level: float, values: Array, sizes: Array) -> float:
    from scipy.interpolate import PchipInterpolator

    above = np.flatnonzero(values > level)
    if not above.size:
        return float(sizes[0])
    last = int(above[-1])
    if last == len(values) - 1:
        return np.inf
    roots = PchipInterpolator(np.log(sizes), values - level).roots(extrapolate=False)
    return float(np.exp(max(root for root in roots if root <= np.log(sizes[last + 1]) + 1e-9)))
