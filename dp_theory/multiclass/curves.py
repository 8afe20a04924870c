"""Ways to choose rows for K classes against each other, over the number of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dp_theory.multiclass.experiment import simulate_softmax
from dp_theory.multiclass.prediction import TOLERANCE, predict_softmax
from dp_theory.multiclass.ridge import with_best_ridge
from dp_theory.multiclass.selection import make_selection
from dp_theory.multiclass.softmax_problem import SoftmaxProblem
from dp_theory.numerics.checks import require, require_numbers, require_seed, require_tolerance
from dp_theory.ridge.simulators.trials import check_size

if TYPE_CHECKING:
    import pandas as pd


def classes_curves(
    classes: Sequence[int],
    *,
    rules: Sequence[str] = ("random", "keep-hard", "keep-easy"),
    keep: Sequence[float] = (0.5,),
    rho: float = 0.9,
    kept: Sequence[float] = (1.0, 4.0, 16.0),
    lam: float | None = None,
    by: str = "entropy",
    kappa: float = 1.0,
    tolerance: float = TOLERANCE,
    trials: int = 0,
    d: int = 240,
    seed: int = 0,
    workers: int | None = 1,
    advance: Callable[[int], None] = lambda done: None,
) -> pd.DataFrame:
    """A row for each number of classes, rule, kept fraction and number of kept rows per dimension.

    Columns classes, rule, keep, kept and generated (per dimension; the pool is generated), lam; test_error,
    cross_entropy, overlap, squared_norm, each with its _se. lam: ridge per *training* row, as in `dp_theory.sweep`;
    None: each row's best. trials: with some, simulated, simulated_se and z of the test error in dimension d. rules, by
    and kappa as in `make_selection`. advance(1) is called after each row. Raises as these and SoftmaxProblem do.
    """
    import pandas as pd

    require_numbers(kept=kept)
    require_seed(seed)
    require_tolerance(tolerance)
    check_size(d, max(trials, 1))
    require("kept", kept, np.asarray(kept) > 0, "be positive: it is the number of training rows per dimension")
    rows = []
    for k in classes:
        for rule in rules:
            for p in keep:
                selection = make_selection(rule, k, keep=None if rule == "keep-all" else p, by=by, kappa=kappa)
                fraction = float(selection.keep_fraction(k).mean())
                for number in kept:
                    problem = SoftmaxProblem(
                        k, selection, rho, fraction / number, fraction * (1.0 if lam is None else lam)
                    )
                    if lam is None:
                        problem = with_best_ridge(problem, seed=seed)
                    found = predict_softmax(problem, tolerance=tolerance, seed=seed)
                    row = {"classes": k, "rule": rule, "keep": round(fraction, 9), "kept": number}
                    row |= {"generated": number / fraction, "lam": problem.lam / fraction}
                    for name in ("test_error", "cross_entropy", "overlap", "squared_norm"):
                        row |= {key: float(getattr(found, key)) for key in (name, f"{name}_se")}
                    if trials:
                        runs = simulate_softmax(problem, d, trials, seed=seed, workers=workers)
                        off = runs.test_error - found.test_error
                        z = float(off / np.hypot(runs.test_error_se, found.test_error_se)) if trials > 1 else np.nan
                        row |= {"simulated": float(runs.test_error), "simulated_se": float(runs.test_error_se), "z": z}
                        row |= {"trials": trials}
                    rows.append(row)
                    advance(1)
    return pd.DataFrame(rows)
