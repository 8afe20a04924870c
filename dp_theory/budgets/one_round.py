"""How a learner should select its own rows, once: the best rule of a loop of one round (ours).

Unlike a fixed selector, the selector here has been trained on the first half of the rows. The answer is exact, by
dp_theory.practice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dp_theory.budgets.least_error import RULE_NAMES, require_selector
from dp_theory.numerics.checks import require
from dp_theory.numerics.minimise import minimise
from dp_theory.practice.additions import Addition
from dp_theory.practice.practice_problem import PracticeProblem
from dp_theory.practice.prediction import solve_stages
from dp_theory.rules import RULES, KeepAll, Rule

if TYPE_CHECKING:
    import pandas as pd

RIDGES = (1e-3, 1e2)  # between which the best ridge is sought


def one_round(psi: float, *, keep: float = 0.2, lam: float | None = None, flip: float = 0.0) -> pd.DataFrame:
    """Every rule in a loop of one round: a learner trains on N plain rows and selects N more.

    The final learner trains on all 2N rows.

    Parameters
    ----------
    psi
        d/N.
    keep
        Kept fraction of the rules, inside (0, 1).
    lam
        Ridge: both learners have the penalty lam·N. By default it is the best one in RIDGES for each rule.
    flip
        Probability that a label is flipped.

    Returns
    -------
    DataFrame
        A row per rule, the best first, with columns rule, keep, lam and test_error.

    Raises
    ------
    InputError
        For parameters outside their domain.

    Examples
    --------
    >>> from dp_theory.budgets.one_round import one_round
    >>> one_round(psi=0.5)["rule"].tolist()
    ['keep-hard', 'keep-all', 'keep-easy']
    """
    import pandas as pd

    require_selector(0.0, flip, lam)
    require("keep", keep, 0 < keep < 1, "lie in (0, 1): it is a kept fraction")
    rows = [{"rule": "keep-all", "keep": 1.0, **_at_best_ridge(KeepAll(), psi, lam, flip)}]
    for name in RULE_NAMES:
        rule = RULES[name].with_keep_fraction(keep)
        rows.append({"rule": name, "keep": keep, **_at_best_ridge(rule, psi, lam, flip)})
    return pd.DataFrame(rows).sort_values("test_error", ignore_index=True)


def _at_best_ridge(rule: Rule, psi: float, lam: float | None, flip: float) -> dict[str, float]:
    """The given ridge, or the best one, and the final learner's test error with it."""

    def error(ridge: float) -> float:
        loop = PracticeProblem(psi, ridge, [Addition(kept=1.0, keep=rule)], flip=flip)
        return solve_stages(loop).test_error[-1]

    if lam is not None:
        return {"lam": float(lam), "test_error": float(error(lam))}
    least, ridge = minimise(np.vectorize(error), *RIDGES, ())
    return {"lam": float(ridge), "test_error": float(least)}
