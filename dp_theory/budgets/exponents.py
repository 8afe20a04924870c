"""Does practice change the exponent of the scaling law (ours)?

    static                  trains on everything that `prune each round` looks at
    prune once              the first learner selects everything that is added
    prune each round        the newest learner selects, from candidates that are generated and paid for
    practice                the same rows, generated directly where the learner wants them (guidance)
    ..., newest rows        trained on the newest rows only

All have the same first pool, and all but static keep the same number of rows in every round.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dp_base.errors import ConvergenceError, InputError
from dp_theory.loop.groups import Addition
from dp_theory.loop.losses import Square
from dp_theory.loop.problems import PracticeProblem
from dp_theory.loop.square import solve_loop
from dp_theory.numerics.checks import Advance, Array, Float, require_kind, unseen
from dp_theory.numerics.costs import Costs

if TYPE_CHECKING:
    import pandas as pd

# Strategies.
STEPS = 6
# The fewest rounds to which an exponent and its curvature can be fitted.
MIN_ROUNDS = 4
# Relative difference of sizes or errors that are the same.
_SAME = 1e-6


@dataclass(frozen=True)
class Scaling:
    """Two tidy tables.

    Attributes
    ----------
    curves
        Columns series, kind (predicted), axis, stage, x, y, y_low, y_high, n_seeds. x is in samples per dimension, y is
        the test error.
    exponents
        A row per series and axis. `exponent` is the predicted slope of ln y on ln x over the second half of the stages,
        and `fit_se` its standard error as a fit, which comes from its curvature. `steepening` is d ln|exponent| / d ln
        x: 0 for a power law and 1 for a geometric decay. All are 0 for an error that stays as it is, and nan where
        fewer than three sizes are there.
    """

    curves: "pd.DataFrame"
    exponents: "pd.DataFrame"


def scaling(problem: PracticeProblem, *, advance: Advance = unseen) -> Scaling:
    """The error of every strategy against its samples, and the exponents.

    Parameters
    ----------
    problem
        The practice that the strategies share. It must accumulate, with the square loss.
    advance
        It is called with 1 after each of the STEPS.

    Raises
    ------
    InputError
        For fewer than four rounds, for rows that do not accumulate, and for other losses than the square.

    Examples
    --------
    >>> from dp_theory import PracticeProblem, Window, scaling
    >>> table = scaling(PracticeProblem(0.25, 0.0, [Window(1)] * 10)).exponents.set_index(["series", "axis"])
    >>> float(table.loc[("practice", "kept"), "exponent"].round(2))
    -1.14
    """
    import pandas as pd

    require_kind("problem", problem, PracticeProblem, "a PracticeProblem")
    if not problem.accumulate or len(problem.additions) < MIN_ROUNDS:
        raise InputError(
            "scaling needs a practice that accumulates, with at least 4 rounds: newest is one of its lines"
        )
    if not isinstance(problem.loss, Square):
        raise InputError(f"scaling is for the square loss, not {problem.loss}: other losses would take it minutes")
    curves = []
    exponents = []
    for problems, strategies in _compared(problem):
        errors, kept, candidates = _predicted(problems)
        for series, is_direct in strategies.items():
            generated = kept if is_direct else candidates
            counted = Costs().axes("direct" if is_direct else "prune", generated, kept, first=generated[0])
            for axis in ("kept", "generated", "compute"):  # the exponent is about kept rows
                head = {"series": series, "kind": "predicted", "axis": axis, "stage": np.arange(len(errors))}
                bars = {"y": errors, "y_low": errors, "y_high": errors, "n_seeds": 0}
                curves.append(pd.DataFrame({**head, "x": counted[axis], **bars}))
                exponents.append({"series": series, "axis": axis, **_exponent(counted[axis], errors)})
            advance(1)
    return Scaling(pd.concat(curves, ignore_index=True), pd.DataFrame(exponents))


def _predicted(problems: list[PracticeProblem]) -> Float[Array, "3 points"]:
    """Errors, and rows kept and looked at per dimension: all stages of the first loop, and the last of the others."""
    solved = [solve_loop(problem) for problem in problems]
    first, *others = (np.vstack([run.test_error, run.sizes()]) for run in solved)
    joined = np.concatenate([first, *(run[:, -1:] for run in others)], axis=1)
    return joined / np.array([[1.0], [problems[0].phi], [problems[0].phi]])


def _compared(problem: PracticeProblem) -> list[tuple[list[PracticeProblem], dict[str, bool]]]:
    whole = solve_loop(problem)
    kept, candidates = np.diff(whole.sizes())
    static = replace(problem, additions=[Addition(candidates=size) for size in candidates])
    first, ridges = whole.additions[0], whole.cell.ridges
    by_kept: Any = {"candidates": None} if isinstance(first, Addition) else {}
    once = [
        replace(problem, lam=[ridges[0], lam], additions=[replace(first, kept=size, **by_kept)])
        for lam, size in zip(ridges[1:], np.cumsum(kept), strict=True)
    ]
    newest = _resolved(replace(problem, accumulate=False))
    return [
        ([static], {"static": False}),
        (once, {"prune once": False}),
        ([problem], {"prune each round": False, "practice": True}),
        ([newest], {"prune, newest rows": False, "practice, newest rows": True}),
    ]


def _resolved(problem: PracticeProblem) -> PracticeProblem:
    """With as many rounds as have a solution: newest rows may be too few, and their error falls geometrically."""
    try:
        solve_loop(problem)
        return problem
    except (ConvergenceError, InputError):
        rounds = len(problem.additions) * 3 // 4
        lam = np.broadcast_to(problem.lam, problem.stages)[: rounds + 1].tolist()
        return _resolved(replace(problem, lam=lam, additions=problem.additions[:rounds]))


def _exponent(x: Array, errors: Array) -> dict[str, float]:
    log_x, log_error = np.log([x, errors])[:, len(x) // 2 :]
    are_few = np.sum(np.diff(log_x) > _SAME) < 2
    if are_few or np.ptp(log_error) < _SAME:
        return dict.fromkeys(("exponent", "fit_se", "steepening"), np.nan if are_few else 0.0)
    # scipy.stats.linregress gives the same, but importing scipy.stats takes a quarter of `dp theory practice`
    (slope, _), covariance = np.polyfit(log_x, log_error, 1, cov=True)
    curvature = np.polynomial.Polynomial.fit(log_x, log_error, 2).deriv(2)(log_x[0])
    return {"exponent": float(slope), "fit_se": float(np.sqrt(covariance[0, 0])), "steepening": curvature / slope}
