"""Does practice change the exponent of the scaling law (ours)?

    static                  trains on everything that `prune each round` looks at
    prune once              the first learner selects everything that is added
    prune each round        the newest learner selects, from candidates that are generated and paid for
    practice                the same rows, generated directly where the learner wants them (guidance)
    ..., newest rows        trained on the newest rows only

All have the same first pool, and all but static keep the same number of rows in every round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.loop.experiment import simulate_practice
from dp_theory.loop.groups import Addition, MeasuredRows, RoundRows
from dp_theory.loop.losses import Square
from dp_theory.loop.prediction import solve_stages
from dp_theory.loop.problems import PracticeProblem
from dp_theory.numerics.checks import Array
from dp_theory.numerics.costs import AXES, DIRECT_COST, TRAINING_COST, Costs, require_costs
from dp_theory.ridge.simulators.dense import mean_and_se

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float

STEPS = 6  # strategies
FEWEST_ROUNDS = 4  # from which an exponent and its curvature can be fitted
_KEPT_FIRST = sorted(AXES, key=lambda axis: axis != "kept")  # order of the tables: the exponent is about kept rows


@dataclass(frozen=True)
class Scaling:
    """Two tidy tables."""

    # Columns series, kind, axis, stage, x, y, y_low, y_high, n_seeds. x is in samples per dimension, y is the test
    # error, and the bounds are one standard error away
    curves: pd.DataFrame
    # A row per series and axis. `exponent` is the predicted slope of ln y on ln x over the second half of the stages,
    # and `fit_se` its standard error as a fit, which comes from its curvature. `steepening` is d ln|exponent| / d ln x:
    # 0 for a power law and 1 for a geometric decay. With trials, `simulated` is the mean slope over them and
    # `simulated_se` its standard error
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
    """The error of every strategy against its samples, and the exponents.

    Parameters
    ----------
    problem
        The practice that the strategies share. It must accumulate, with scalar rules and the square loss.
    d, trials
        Dimension and number of simulated runs. Without trials everything is predicted alone.
    direct_cost, training_cost
        Costs of a directly drawn sample and of training on a row, in plain samples.
    seed, workers
        As in `simulate`.
    advance
        It is called with 1 after each of the STEPS.

    Raises
    ------
    InputError
        For fewer than four rounds, for arrays of parameters, for other losses than the square, and for costs that are
        negative or not finite.

    Examples
    --------
    >>> from dp_theory import PracticeProblem, Window, scaling
    >>> table = scaling(PracticeProblem(0.25, 0.0, [Window(1)] * 10)).exponents.set_index(["series", "axis"])
    >>> float(table.loc[("practice", "kept"), "exponent"].round(2))
    -1.14
    """
    import pandas as pd

    _require_comparable(problem)
    require_costs(direct=direct_cost, training=training_cost)
    costs = Costs(direct=direct_cost, training=training_cost)
    curves = []
    exponents = []
    for problems, strategies in _compared(problem):
        curve = _predicted(problems)
        samples = _simulated(problems, d, trials, seed, workers) if trials else None
        for series, is_direct in strategies.items():
            counted = _counted(curve, is_direct, costs)
            for axis in _KEPT_FIRST:
                curves += _points(series, axis, counted[axis], curve.errors, samples)
                exponents.append(_exponent(series, axis, counted[axis], curve.errors, samples))
            advance(1)
    return Scaling(pd.concat(curves, ignore_index=True), pd.DataFrame(exponents))


def _require_comparable(problem: PracticeProblem) -> None:
    if not problem.accumulate or len(problem.additions) < FEWEST_ROUNDS:
        raise InputError(
            "scaling needs a practice that accumulates, with at least 4 rounds: newest is one of its lines"
        )
    if problem.shape:
        raise InputError(f"scaling takes one practice, but its rules' parameters have the shape {problem.shape}")
    if not isinstance(problem.loss, Square):
        raise InputError(f"scaling is for the square loss, not {problem.loss}: other losses would take it minutes")


class _Curve(NamedTuple):
    errors: Float[Array, " points"]
    kept: Float[Array, " points"]
    candidates: Float[Array, " points"]


def _predicted(problems: list[PracticeProblem]) -> _Curve:
    phi = problems[0].phi
    solved = [solve_stages(problem) for problem in problems]
    errors = _join([stages.test_error for stages in solved])
    kept = _join([stages.kept for stages in solved]) / phi
    candidates = _join([stages.candidates for stages in solved]) / phi
    return _Curve(errors, kept, candidates)


def _simulated(
    problems: list[PracticeProblem], d: int, trials: int, seed: int, workers: int | None
) -> Float[Array, "trials points"]:
    runs = [simulate_practice(problem, d, trials, seed=seed, workers=workers).test_errors for problem in problems]
    return np.array([_join(list(trial)) for trial in zip(*runs, strict=True)])


def _compared(problem: PracticeProblem) -> list[tuple[list[PracticeProblem], dict[str, bool]]]:
    """The loops of each curve, and the strategies that it stands for, with whether they draw directly."""
    whole = solve_stages(problem)
    static = replace(problem, additions=[Addition(candidates=size) for size in np.diff(whole.candidates)])
    first_selection = whole.additions[0]
    added = np.cumsum(np.diff(whole.kept))
    once = [replace(problem, additions=[_resized(first_selection, size)]) for size in added]
    newest = _resolved(replace(problem, accumulate=False))
    return [
        ([static], {"static": False}),
        (once, {"prune once": False}),
        ([problem], {"prune each round": False, "practice": True}),
        ([newest], {"prune, newest rows": False, "practice, newest rows": True}),
    ]


def _resized(rows: RoundRows, kept: float) -> RoundRows:
    if isinstance(rows, MeasuredRows):
        return replace(rows, kept=kept)
    return replace(rows, candidates=None, kept=kept)


def _resolved(problem: PracticeProblem) -> PracticeProblem:
    """With as many rounds as double precision resolves: the error of newest rows falls geometrically."""
    try:
        solve_stages(problem)
        return problem
    except ConvergenceError:
        return _resolved(replace(problem, additions=problem.additions[: len(problem.additions) * 3 // 4]))


def _join(stages: list[Array]) -> Array:
    return np.concatenate([stages[0], [run[-1] for run in stages[1:]]])


def _counted(curve: _Curve, is_direct: bool, costs: Costs) -> dict[str, Any]:
    generated = curve.kept if is_direct else curve.candidates
    return costs.axes("direct" if is_direct else "prune", generated, curve.kept, first=generated[0])


def _points(series: str, axis: str, x: Array, errors: Array, samples: Array | None) -> list[pd.DataFrame]:
    import pandas as pd

    kinds = [("predicted", errors, 0 * errors, 0)]
    if samples is not None:
        y, se = mean_and_se(samples, axis=0)
        kinds.append(("simulated", y, np.where(np.isfinite(se), se, np.nan), len(samples)))
    return [
        pd.DataFrame(
            {
                "series": series,
                "kind": kind,
                "axis": axis,
                "stage": np.arange(len(x)),
                "x": x,
                "y": y,
                "y_low": y - se,
                "y_high": y + se,
                "n_seeds": seeds,
            }
        )
        for kind, y, se, seeds in kinds
    ]


def _exponent(series: str, axis: str, x: Array, errors: Array, samples: Array | None) -> dict[str, Any]:
    tail = slice(len(x) // 2, None)
    log_x = np.log(x[tail])
    log_error = np.log(errors[tail])
    slope, se = _slope(log_x, log_error)
    curvature = np.polynomial.Polynomial.fit(log_x, log_error, 2).deriv(2)(log_x[0])
    record = {"series": series, "axis": axis, "exponent": slope, "fit_se": se, "steepening": curvature / slope}
    if samples is not None:
        slopes = np.array([_slope(log_x, np.log(trial[tail]))[0] for trial in samples])
        record["simulated"], record["simulated_se"] = mean_and_se(slopes, axis=0)
    return record


def _slope(x: Array, y: Array) -> tuple[float, float]:
    # scipy.stats.linregress gives the same, but importing scipy.stats takes a quarter of `dp theory practice`
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))
