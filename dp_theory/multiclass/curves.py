"""Test errors of selections among K classes over the number of training rows."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dp_theory.multiclass.prediction import predict_softmax
from dp_theory.multiclass.selection import make_selection
from dp_theory.multiclass.softmax_problem import SoftmaxProblem
from dp_theory.numerics.checks import Advance, list_of, require_positive, require_tolerance, unseen
from dp_theory.outcomes import SoftmaxOutputs
from dp_theory.ridge.problem import Experiments
from dp_theory.rules import listed

if TYPE_CHECKING:
    import pandas as pd


def softmax_curves(
    classes: Sequence[int],
    rules: str | Sequence[str],
    keep: Sequence[float],
    kept: Sequence[float],
    lam: Sequence[float],
    *,
    rho: float = 0.9,
    tolerance: float = 1e-2,
    trials: int = 0,
    d: int = 240,
    seed: int = 0,
    workers: int | None = 1,
    advance: Advance = unseen,
) -> "pd.DataFrame":
    """A row for each number of classes, rule, kept fraction, number of training rows and ridge.

    Parameters
    ----------
    classes, rules, keep
        As `make_selection` takes them.
    kept, lam
        Training rows per dimension, and the ridge per training row, both positive.
    rho
        Cosine of each direction of the selector with the teacher's, in [-1, 1].
    tolerance
        Largest relative standard error of a predicted test error, positive.
    trials, d
        Experiments that simulate each row, 0 for none, and their dimension.
    seed, workers
        As in `simulate`; the seed is that of the points of theory too.
    advance
        It is called with 1 after each row.

    Returns
    -------
    DataFrame
        Columns classes, rule, keep, kept, generated, lam and those of `SoftmaxOutputs`; with trials also simulated,
        simulated_se, z and trials.

    Raises
    ------
    InputError
        For parameters outside their domain.
    ConvergenceError
        Where points do not meet the tolerance.
    """
    import pandas as pd

    require_tolerance(tolerance)
    require_positive("without ridge the weights run away", lam=lam)
    require_positive("it is the number of training rows per dimension", kept=kept)
    rows = []
    for k, rule, p in itertools.product(list_of(classes), listed(rules), list_of(keep)):
        selection = make_selection(rule, k, keep=None if rule == "keep-all" else p)
        fraction = float(selection.keep_fraction(k).mean())
        for number, ridge in itertools.product(list_of(kept), list_of(lam)):
            problem = SoftmaxProblem(k, selection, rho, fraction / number, fraction * ridge)
            row: dict[str, Any] = {"classes": k, "rule": rule, "keep": round(fraction, 9), "kept": number}
            row |= {"generated": number / fraction, "lam": ridge}
            prediction = predict_softmax(problem, tolerance=tolerance, seed=seed)
            row |= {name: getattr(prediction, name) for name in SoftmaxOutputs.__annotations__}
            if trials:
                runs = problem.draw(Experiments(d, trials, "dense", seed, workers))
                se = np.hypot(runs.test_error_se, prediction.test_error_se)
                z = (runs.test_error - prediction.test_error) / se if trials > 1 else np.nan  # one trial has no error
                row |= {"simulated": float(runs.test_error), "simulated_se": float(runs.test_error_se)}
                row |= {"z": float(z), "trials": trials}
            rows.append(row)
            advance(1)
    return pd.DataFrame(rows)
