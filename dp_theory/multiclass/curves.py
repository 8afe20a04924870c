"""Ways to choose rows for K classes against each other, over the number of rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dp_theory.multiclass.experiment import simulate_softmax
from dp_theory.multiclass.prediction import TOLERANCE, predict_softmax
from dp_theory.multiclass.ridge import with_best_ridge
from dp_theory.multiclass.selection import make_selection
from dp_theory.multiclass.softmax_problem import SoftmaxProblem
from dp_theory.numerics.checks import require, require_numbers, require_seed, require_tolerance
from dp_theory.outcomes import SoftmaxPrediction
from dp_theory.ridge.simulators.dense import check_size

if TYPE_CHECKING:
    import pandas as pd


OUTPUTS = ("test_error", "cross_entropy", "overlap", "squared_norm")


@dataclass(frozen=True)
class Experiments:
    """The experiments that `classes_curves` holds beside each prediction.

    Attributes
    ----------
    trials
        Number of experiments for each row of the table; 0 for none.
    d
        Their dimension.
    workers
        Number of processes; None for all cores.
    """

    trials: int = 0
    d: int = 240
    workers: int | None = 1


NO_EXPERIMENTS = Experiments()


def classes_curves(
    classes: Sequence[int],
    *,
    rules: Sequence[str] = ("random", "keep-hard", "keep-easy"),
    keep: Sequence[float] = (0.5,),
    rho: float = 0.9,
    kept: Sequence[float] = (1.0, 4.0, 16.0),
    lam: float | None = None,
    tolerance: float = TOLERANCE,
    experiments: Experiments = NO_EXPERIMENTS,
    seed: int = 0,
    advance: Callable[[int], None] = lambda done: None,
) -> pd.DataFrame:
    """Ways to select rows for K classes, over the number of rows.

    Parameters
    ----------
    classes
        Numbers of classes K.
    rules
        As `make_selection` takes them, without `keep`: "keep-hard@by=margin".
    keep
        Kept fractions. The rule keep-all has its own.
    rho
        The cosine of a selector's direction with the teacher's of the same class.
    kept
        Numbers of training rows per dimension.
    lam
        Ridge per training row, as in `dp_theory.sweep`. By default each row of the table has its best.
    tolerance
        Largest standard error of a predicted test error, relative to it.
    experiments
        Experiments for each row of the table.
    seed
        Of points and experiments.
    advance
        advance(1) is called after each row of the table.

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
    check_size(experiments.d, max(experiments.trials, 1))
    require("kept", kept, np.asarray(kept) > 0, "be positive: it is the number of training rows per dimension")
    rows = []
    for k, rule, p in itertools.product(classes, rules, keep):
        selection = make_selection(rule, k, keep=None if rule == "keep-all" else p)
        fraction = float(selection.keep_fraction(k).mean())
        for number in kept:
            problem = SoftmaxProblem(k, selection, rho, fraction / number, fraction * (1.0 if lam is None else lam))
            if lam is None:
                problem = with_best_ridge(problem, seed=seed)
            row: dict[str, Any] = {"classes": k, "rule": rule, "keep": round(fraction, 9), "kept": number}
            row |= {"generated": number / fraction, "lam": problem.lam / fraction}
            found = predict_softmax(problem, tolerance=tolerance, seed=seed)
            for name in OUTPUTS:
                row[name] = float(getattr(found, name))
                row[f"{name}_se"] = float(getattr(found, f"{name}_se"))
            if experiments.trials:
                row |= _measured(problem, found, experiments, seed)
            rows.append(row)
            advance(1)
    return pd.DataFrame(rows)


def _measured(
    problem: SoftmaxProblem, predicted: SoftmaxPrediction, experiments: Experiments, seed: int
) -> dict[str, float]:
    runs = simulate_softmax(problem, experiments.d, experiments.trials, seed=seed, workers=experiments.workers)
    off = runs.test_error - predicted.test_error
    se = np.hypot(runs.test_error_se, predicted.test_error_se)
    return {
        "simulated": float(runs.test_error),
        "simulated_se": float(runs.test_error_se),
        "z": float(off / se) if experiments.trials > 1 else np.nan,  # one trial has no standard error
        "trials": experiments.trials,
    }
