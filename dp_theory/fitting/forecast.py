"""How many samples reach a target error, by strategy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import erf

from dp_theory.fitting.curve import Curve
from dp_theory.fitting.fit import Fit
from dp_theory.fitting.power_law import mixture, theory_weight
from dp_theory.fitting.theory import MAX_ROUNDS, pool_sizes
from dp_theory.numerics.checks import Array, require, require_in, require_kind, require_number
from dp_theory.numerics.costs import Costs, require_axis

if TYPE_CHECKING:
    import pandas as pd

# The largest pool that is looked at, over the present one.
FARTHEST = 1e4
# Rounds as large as the first pool, which a forecast considers before rounds that grow.
FEW_ROUNDS = 6
# The theory's least weight at which it predicts strategies that were not measured.
MIN_WEIGHT = 0.15
# Sizes of a plan without rounds: six a decade, between which a cubic is within some 0.2 % of the theory.
_POINTS = 25
_FROM_NOTHING = "prune as measured"
# A pool that is pruned from nothing begins with this fraction of the present rows.
_SMALLEST_PRUNED = 16


def forecast(
    fitted: Fit,
    target: float,
    *,
    x: str = "generated",
) -> "pd.DataFrame":
    """How much more each strategy takes to reach a target error, the best strategy first.

    All strategies but the last go on from the plain rows of the curve's largest plain point, or from the first pool of
    its practice.

        static             more plain rows
        prune              the learner on those rows looks at plain candidates once, and keeps those near its boundary
        practice           the newest learner says, round by round, where rows are generated: FEW_ROUNDS rounds as large
                           as the first pool, or MAX_ROUNDS that grow with it if only these reach the target
        prune as measured  only if the curve tells the selector's rho: a pool from nothing, pruned to the share that
                           the curve kept

    `prune` and `practice` keep rows with |t| < window·tan(πE), by the fitted window or by 1.

    With plain points at MIN_SIZES sizes or more, `static` is foreseen by the theory and a power law with floor
    together (T9.14). The others are answered by the theory alone, and are nan where its weight is below MIN_WEIGHT.

    Parameters
    ----------
    fitted
        By `fit`.
    target
        A test error, in (0, 1/2).
    x
        What is counted, one of AXES of dp_theory.numerics.costs.

    Returns
    -------
    pd.DataFrame
        Columns strategy, use, more, low, high, kept and note, a row for each strategy. `more` is what it takes beyond
        the present rows, and inf where the target is out of reach. `low` and `high` are what it takes within the region
        of likely parameters: the profile-likelihood interval, widened by the ends of the
        parameters' intervals. `low` is at most what was looked at. `high` is inf where the floor may be as high as the
        target, and so is `low` where it must be. For `static` by both, they are quantiles of the mixture.
        `use` is "yes" for the best strategy if all other intervals lie above its own, "as good" where they overlap,
        else "no", and "unknown" where that cannot be told. `kept` counts the training rows in all.

    Raises
    ------
    InputError
        For what is no fit, for a target outside (0, 1/2) or not above a floor that is fixed, and for an unknown x.
    """
    import pandas as pd

    require_number(target=target)
    require_kind("fitted", fitted, Fit, "a Fit, as by fit(curve)")
    require_axis(x)
    require_in("(0, 1/2)", "it is a test error", target=target)
    curve = fitted.curve
    if fitted.why_fixed.get("floor") == "fixed":
        floor = fitted.values["floor"]
        require("target", target, target > floor, f"lie above floor = {floor:g}, which is fixed: no rows reach it")
    start = float(np.max(curve.kept[curve.plain]) if curve.plain.any() else np.min(curve.initial))
    by_increment = pool_sizes(start, start, (FEW_ROUNDS + 1) * start)
    doubling = np.geomspace(start, 2.0**FEW_ROUNDS * start, MAX_ROUNDS + 1)
    once = np.geomspace(start, 2.0**FEW_ROUNDS * start, FEW_ROUNDS + 1)
    plans = {  # sizes to go through, those tried first before the others
        "static": [_plan("static", np.geomspace(start, start * FARTHEST, _POINTS))],
        "prune": [
            _plan("practice", s, initial=start, increment=np.maximum(s - start, 1.0)) for s in (by_increment, once)
        ],
        "practice": [_plan("practice", sizes, initial=start, increment=start) for sizes in (by_increment, doubling)],
    }
    _, _, reason = fitted.why_fixed.get("window", "").partition(": ")
    notes = {"static": ""} | dict.fromkeys(("prune", "practice"), reason and f"window = 1 is assumed: {reason}")
    if "rho" not in fitted.why_fixed:
        keep = float(np.median(curve.keep[curve.selected]))
        sizes = np.geomspace(max(start * keep / _SMALLEST_PRUNED, 2), start * FARTHEST * keep, _POINTS)
        plans[_FROM_NOTHING] = [_plan("prune", sizes, keep=keep, generated=sizes / keep, rule=curve.rule)]
        notes[_FROM_NOTHING] = f"from nothing, keeps {keep:.3g}"
    weight = theory_weight(fitted)
    floors = zip(("low", "high"), fitted.limits("floor"), strict=True)
    beyond = {end: np.inf for end, floor in floors if floor >= target}
    rows = []
    for name, tried in plans.items():
        question = _Question(fitted, target, x, 0.0 if name == _FROM_NOTHING else start)
        if weight is not None and name == "static":
            note = f"by theory {weight:.2f}, power law with floor {1 - weight:.2f}"
            rows.append((name, *question.answer(tried, weight), note))
        elif weight is not None and weight < MIN_WEIGHT:
            reason = f"not told: beside a power law the theory has a weight of {weight:.2g}"
            rows.append((name, *[np.nan] * len(_Answer._fields), reason))
        else:
            answer = question.answer(tried)
            rows.append((name, *answer._replace(**beyond), notes[name]))
    table = pd.DataFrame(rows, columns=["strategy", *_Answer._fields, "note"])
    for row in table.index[table["more"] == np.inf]:
        farthest = plans[table.loc[row, "strategy"]][-1].kept[-1]
        table.loc[row, "note"] = f"not within {farthest:.3g} rows; {table.loc[row, 'note']}".removesuffix("; ")
    table = table.sort_values("more", kind="stable", ignore_index=True)
    table.insert(1, "use", _use(table))
    return table


def _plan(strategy: str, sizes: Array, **more: Any) -> Curve:
    return Curve(np.full(len(sizes), strategy), sizes, 0.25, **more)


def _use(table: "pd.DataFrame") -> Array:
    if table["more"].isna().any():
        return np.full(len(table), "unknown")
    overlaps = (table["low"] <= table["high"][0]) & (table["low"] < np.inf)
    reached = np.where(table["more"] < np.inf, "as good" if overlaps.sum() > 1 else "yes", "unknown")
    return np.where(overlaps, reached, "no")


class _Answer(NamedTuple):
    more: float
    low: float
    high: float
    kept: float


@dataclass(frozen=True)
class _Question:
    fitted: Fit
    target: float
    x: str
    start: float  # the plain rows that a plan goes on from

    def answer(self, plans: list[Curve], weight: float | None = None) -> _Answer:
        """What the first plan takes that reaches the target for sure, else in the mean, else the last."""
        answers = []
        for plan in plans:
            answers.append(self._answer_of(plan, weight))
            if np.isfinite(answers[-1].high):
                return answers[-1]
        return next((answer for answer in answers if np.isfinite(answer.more)), answers[-1])

    def _answer_of(self, plan: Curve, weight: float | None) -> _Answer:
        errors = self.fitted.bands(plan)[["error", "low", "high"]].to_numpy().T
        if weight is not None:
            curve = self.fitted.curve
            errors = mixture(curve.at(curve.plain), plan.kept, weight, errors)
        counted = self._counted(plan, self.fitted.values, errors[0, 0])
        more, *ends = (self._more(plan, counted, line) for line in errors)
        if weight is None:
            likelihood = self.fitted.likelihood
            places = self.fitted.outermost()
            at_places, _ = likelihood.predict(plan, places)
            for line, z in zip(at_places, places, strict=True):
                if np.isfinite(line).all():  # else the theory has no solution there
                    ends.append(self._more(plan, self._counted(plan, likelihood.values_at(z), line[0]), line))
        return _Answer(more, min(*ends, counted[-1]), max(ends), self._reached(errors[0], plan.kept))

    def _more(self, plan: Curve, counted: Array, errors: Array) -> float:
        size = self._reached(errors, plan.kept)
        return float(np.interp(size, plan.kept, counted, right=np.inf)) if size > self.start else 0.0

    def _reached(self, errors: Array, sizes: Array) -> float:
        from scipy.interpolate import PchipInterpolator

        excess = np.log(errors) - np.log(self.target)
        above = np.flatnonzero(excess > 0)
        if not above.size or (self.start and errors[0] <= self.target):
            return float(sizes[0])
        if excess[-1] > 0:
            return np.inf
        roots = PchipInterpolator(np.log(sizes), excess).roots(extrapolate=False)
        return float(np.exp(roots[roots <= np.log(sizes[above[-1] + 1]) + 1e-9].max()))

    def _counted(self, plan: Curve, values: Mapping[str, float], first_error: float) -> Array:
        generated = plan.generated
        rounds = plan.rounds.max()
        if rounds == 1:  # candidates are kept with probability P(|t| < window·tan(πE')), E' without the floor
            cosine = np.cos(np.pi * first_error) / np.cos(np.pi * values["floor"])
            share = erf(values["window"] * np.tan(np.arccos(np.clip(cosine, -1, 1))) / np.sqrt(2))
            generated = plan.initial + (plan.kept - plan.initial) / share
        plain = self.start if plan.has_practice else 0.0
        at_start = Costs().axes("static", self.start, self.start)[self.x]
        strategy = "direct" if rounds > 1 else "static"
        return Costs().axes(strategy, generated, plan.kept, first=plain)[self.x] - at_start
