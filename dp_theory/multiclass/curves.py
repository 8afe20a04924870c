"""Error curves of ways to choose rows for K classes."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dp_theory.multiclass.prediction import STEPS, TOLERANCE, WIDE, Nodes, SoftmaxEquations, predict_softmax
from dp_theory.multiclass.selection import SETS, make_selection
from dp_theory.multiclass.softmax_problem import SoftmaxProblem
from dp_theory.numerics.checks import (
    Advance,
    Array,
    require,
    require_numbers,
    require_positive,
    require_seed,
    require_tolerance,
    require_whole,
    unseen,
)
from dp_theory.outcomes import SoftmaxOutputs
from dp_theory.ridge.simulators.dense import check_size
from dp_theory.rules import listed

if TYPE_CHECKING:
    import pandas as pd

NARROWEST = 1e-6  # the least ridge that is tried, per kept row
ROUNDING = 1e-9  # relative
_LEVEL = 6  # log2 of the points of a set
_FINER = 17  # ridges of the finer grid, which spans a step of the first to either side

log = logging.getLogger(__name__)


def with_best_ridge(problem: SoftmaxProblem, *, seed: int = 0) -> SoftmaxProblem:
    """The problem at its best ridge between WIDE and NARROWEST per kept row."""
    nodes = Nodes.of(problem.classes, problem.selection, problem.rho, SETS, _LEVEL, seed)
    equations = SoftmaxEquations(problem, nodes)
    ridges = np.geomspace(WIDE, NARROWEST, 1 + round(STEPS * np.log10(WIDE / NARROWEST)))
    best = int(np.argmax(_cosines(equations, ridges)))
    start = max(best - 1, 0)
    finer = np.geomspace(ridges[start], ridges[: best + 2][-1], _FINER)
    lam = float(finer[np.argmax(_cosines(equations, np.append(ridges[:start], finer))[start:])])
    if lam <= NARROWEST * (1 + ROUNDING):
        log.warning(
            "%d classes, %g training rows per dimension: the best ridge is the narrowest that is tried, %g per kept "
            "row; a narrower one may be better",
            problem.classes,
            float(problem.selection.keep_fraction(problem.classes).mean() / problem.phi),
            NARROWEST,
        )
    return replace(problem, lam=float(nodes.mass.mean()) * lam)


def _cosines(equations: SoftmaxEquations, ridges: Array) -> list[float]:
    return [x[0] / np.hypot(np.linalg.norm(x[:-2]), np.exp(x[-2])) for x in equations.path(ridges)]


def classes_curves(
    classes: Sequence[int],
    *,
    rules: str | Sequence[str] = ("random", "keep-hard", "keep-easy"),
    keep: Sequence[float] = (0.5,),
    rho: float = 0.9,
    kept: Sequence[float] = (1.0, 4.0, 16.0),
    lam: float | None = None,
    tolerance: float = TOLERANCE,
    trials: int = 0,
    d: int = 240,
    workers: int | None = 1,
    seed: int = 0,
    advance: Advance = unseen,
) -> "pd.DataFrame":
    """Ways to select rows for each number of classes, over the number of rows.

    Parameters
    ----------
    rules
        As `make_selection` takes them, without `keep`: "keep-hard@kappa=2".
    keep
        Kept fractions. The rule keep-all has its own.
    rho
        The cosine of a selector's direction with the teacher's of the same class.
    kept
        Numbers of training rows per dimension.
    lam
        Ridge per training row. By default each row of the table has its best.
    tolerance
        Largest standard error of a predicted test error, relative to it.
    trials, d, workers
        Experiments for each row of the table, 0 for none; their dimension; and processes.

    Returns
    -------
    pd.DataFrame
        A row for each number of classes, rule, kept fraction and number of training rows. Columns: classes, rule, keep,
        kept and generated (training rows and pool rows per dimension), lam; test_error, cross_entropy, overlap and
        squared_norm, each with its _se. With experiments also simulated, simulated_se, z and trials.

    Raises
    ------
    InputError
        For parameters outside their domain.
    ConvergenceError
        Where the tolerance is missed.
    """
    import pandas as pd

    require_numbers(kept=kept)
    require_seed(seed)
    require_tolerance(tolerance)
    require_whole(trials=trials)
    check_size(d, trials or 1)
    require_positive("without ridge the weights run away", lam=1.0 if lam is None else lam)
    require("kept", kept, np.asarray(kept) > 0, "be positive: it is the number of training rows per dimension")
    rows = []
    for k, rule, p in itertools.product(classes, listed(rules), keep):
        selection = make_selection(rule, k, keep=None if rule == "keep-all" else p)
        fraction = float(selection.keep_fraction(k).mean())
        for number in kept:
            problem = SoftmaxProblem(k, selection, rho, fraction / number, fraction * (1.0 if lam is None else lam))
            if lam is None:
                problem = with_best_ridge(problem, seed=seed)
            row: dict[str, Any] = {"classes": k, "rule": rule, "keep": round(fraction, 9), "kept": number}
            row |= {"generated": number / fraction, "lam": problem.lam / fraction}
            found = predict_softmax(problem, tolerance=tolerance, seed=seed)
            row |= {field.name: float(getattr(found, field.name)) for field in fields(SoftmaxOutputs)}
            if trials:
                runs = problem.draw(d, trials, engine="dense", seed=seed, workers=workers)
                se = np.hypot(runs.test_error_se, found.test_error_se)
                z = (runs.test_error - found.test_error) / se if trials > 1 else np.nan  # one trial has no error
                row |= {"simulated": float(runs.test_error), "simulated_se": float(runs.test_error_se)}
                row |= {"z": float(z), "trials": trials}
            rows.append(row)
            advance(1)
    return pd.DataFrame(rows)
