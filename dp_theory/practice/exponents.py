"""Does practice change the exponent of the scaling law? Error against rows for every way to choose them (ours).

Six strategies with the same first pool and, but for static, the same number of kept rows in every round

    static              trains on everything that `prune each round` looks at
    prune once          the first learner selects everything that is added
    prune each round    the newest learner selects, from candidates that are generated and paid for
    practice            the same rows, generated directly where the learner wants them (guidance)
    prune, practice: newest rows    the last two, trained on the newest rows only, not on the accumulated pool

on the axes of dp_theory.numerics.costs, per dimension. docs/theory.md has the exponents and what follows from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.numerics.checks import Array
from dp_theory.numerics.costs import AXES, DIRECT_COST, TRAINING_COST, Costs, require_costs
from dp_theory.practice.experiment import simulate_practice
from dp_theory.practice.practice_problem import Addition, MeasuredRows, PracticeProblem, RoundRows
from dp_theory.practice.prediction import Stages, solve_stages
from dp_theory.ridge.simulators.trials import mean_and_se
from dp_theory.span.losses import Square

if TYPE_CHECKING:
    import pandas as pd

KEPT_FIRST = sorted(AXES, key=lambda axis: axis != "kept")  # the order of the tables: the exponent is about kept rows
STEPS = 6  # strategies


@dataclass(frozen=True)
class Scaling:
    """Two tidy tables.

    curves: series, kind, axis, stage, x, y, y_low, y_high, n_seeds; x in samples per dimension, y the test error, low
    and high one standard error away.
    exponents, per series and axis: `exponent`, the predicted slope of ln y on ln x over the second half of the stages;
    `fit_se`, its standard error as a fit (that is, its curvature); `steepening` = d ln|exponent| / d ln x, 0 for a
    power law and 1 for a geometric decay; with trials `simulated`, the mean slope over them, and `simulated_se`.
    """

    curves: pd.DataFrame
    exponents: pd.DataFrame


def scaling(
    problem: PracticeProblem,
    *,
    d: int = 0,
    trials: int = 0,
    direct_cost: float = DIRECT_COST,
    training_cost: float = TRAINING_COST,
    seed: int = 0,
    workers: int | None = 1,
    advance: Callable[[int], None] = lambda done: None,
) -> Scaling:
    """The strategies for this practice, predicted, and simulated in dimension d where trials > 0.

    The problem must accumulate, and its rules be scalar. Costs are in plain samples. advance is called with 1 after
    each of the STEPS. Raises InputError for fewer than four rounds, from which no exponent can be fitted, for arrays
    of parameters, for other losses than the square, and for costs that are negative or not finite.
    """
    import pandas as pd

    if not problem.accumulate or len(problem.additions) < 4:
        raise InputError(
            "scaling needs a practice that accumulates, with at least 4 rounds: newest is one of its lines"
        )
    if problem.shape:
        raise InputError(f"scaling takes one practice, but its rules' parameters have the shape {problem.shape}")
    if not isinstance(problem.loss, Square):
        raise InputError(f"scaling is for the square loss, not {problem.loss}: other losses would take it minutes")
    require_costs(direct=direct_cost, training=training_cost)
    whole, costs = solve_stages(problem), Costs(direct=direct_cost, training=training_cost)
    curves, exponents, simulated = [], [], {}
    for series, (runs, direct) in _strategies(problem, whole).items():
        solved = [solve_stages(run) for run in runs]
        errors = _join([stages.test_error for stages in solved])
        kept, candidates = (
            _join([getattr(stages, name) for stages in solved]) / problem.phi for name in ("kept", "candidates")
        )
        generated = kept if direct else candidates
        counted = costs.axes("direct" if direct else "prune", generated, kept, first=generated[0])
        samples = None
        if trials:
            key = id(runs)
            if key not in simulated:
                parts = [simulate_practice(run, d, trials, seed=seed, workers=workers).test_errors for run in runs]
                simulated[key] = np.array([_join(list(trial)) for trial in zip(*parts, strict=True)])
            samples = simulated[key]
        for axis in KEPT_FIRST:
            curves += _points(series, axis, counted[axis], errors, samples)
            exponents.append(_exponent(series, axis, counted[axis], errors, samples))
        advance(1)
    return Scaling(pd.DataFrame(curves), pd.DataFrame(exponents))


def _strategies(problem: PracticeProblem, whole: Stages) -> dict[str, tuple[list[PracticeProblem], bool]]:
    """Per series the problems whose last stages make up the curve (one problem: all its stages), and whether its rows
    are generated directly."""
    plain = replace(problem, additions=[Addition(candidates=size) for size in np.diff(whole.candidates)])
    first = whole.additions[0]
    sizes = np.cumsum(np.diff(whole.kept))
    once = [replace(problem, additions=[_resized(first, size)]) for size in sizes]
    newest = [_resolved(replace(problem, accumulate=False))]
    each = [problem]
    return {
        "static": ([plain], False),
        "prune once": (once, False),
        "prune each round": (each, False),
        "practice": (each, True),
        "prune, newest rows": (newest, False),
        "practice, newest rows": (newest, True),
    }


def _resized(rows: RoundRows, kept: float) -> RoundRows:
    """The same rows, `kept` of them."""
    return replace(rows, kept=kept) if isinstance(rows, MeasuredRows) else replace(rows, candidates=None, kept=kept)


def _resolved(problem: PracticeProblem) -> PracticeProblem:
    """With as many rounds as double precision resolves: the error of newest rows falls geometrically."""
    try:
        solve_stages(problem)
        return problem
    except ConvergenceError:
        return _resolved(replace(problem, additions=problem.additions[: len(problem.additions) * 3 // 4]))


def _join(stages: list[Array]) -> Array:
    """The first run whole, then the last stage of each other run."""
    return np.concatenate([stages[0], [run[-1] for run in stages[1:]]])


def _points(series: str, axis: str, x: Array, errors: Array, samples: Array | None) -> list[dict]:
    """Records of `Scaling.curves` for one series on one axis; samples (trials, stages)."""
    kinds = [("predicted", errors, 0 * errors, 0)]
    if samples is not None:
        y, se = mean_and_se(samples, axis=0)
        kinds.append(("simulated", y, np.where(np.isfinite(se), se, np.nan), len(samples)))
    return [
        {"series": series, "kind": kind, "axis": axis, "stage": stage, "x": x[stage], "y": y[stage],
         "y_low": y[stage] - se[stage], "y_high": y[stage] + se[stage], "n_seeds": count}
        for kind, y, se, count in kinds for stage in range(len(x))
    ]  # fmt: skip


def _exponent(series: str, axis: str, x: Array, errors: Array, samples: Array | None) -> dict:
    """A record of `Scaling.exponents`."""
    tail = slice(len(x) // 2, None)
    x, y = np.log(x[tail]), np.log(errors[tail])
    slope, se = _slope(x, y)
    curvature = np.polynomial.Polynomial.fit(x, y, 2).deriv(2)(x[0])
    record = {"series": series, "axis": axis, "exponent": slope, "fit_se": se, "steepening": curvature / slope}
    if samples is not None:
        mean, mean_se = mean_and_se(np.array([_slope(x, np.log(trial[tail]))[0] for trial in samples]), axis=0)
        record |= {"simulated": mean, "simulated_se": mean_se}
    return record


def _slope(x: Array, y: Array) -> tuple[float, float]:
    """Least-squares slope and its standard error."""
    # scipy.stats.linregress gives the same; importing scipy.stats takes a quarter of `dp theory practice`
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))
