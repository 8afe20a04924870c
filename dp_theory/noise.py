"""Labels that are wrong near the boundary, where practice asks for rows (ours).

First what a learner finds in the rows of its window, and what such a row is worth; then static data, pruning, direct
selection and practice, each with its best ridge. t is a row's score by the learner, z = cos(πE) t + sin(πE) ζ that by
the truth. The window is |t| ≤ alpha. Samples are counted per dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import root_scalar

from dp_base.errors import InputError
from dp_theory.loop.flips import BoundaryFlips
from dp_theory.loop.groups import PLAIN, Addition, RoundPlan, Window
from dp_theory.loop.placed import PlacedRows, kept_rows, score_nodes, view_of_labeller
from dp_theory.loop.prediction import Stages, solve_stages
from dp_theory.loop.problems import PracticeProblem
from dp_theory.numerics.checks import (
    SMALLEST,
    Array,
    require,
    require_number,
    require_positive,
    require_ridge,
    require_whole,
)
from dp_theory.numerics.costs import Costs, require_costs
from dp_theory.numerics.quadrature import half_line
from dp_theory.ridge.best import best_ridge, ridge_error
from dp_theory.ridge.theorem1 import theorem1
from dp_theory.rules import RULES, KeepAll, KeepHard, Moments, Rule, kept_fraction, rule_names

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float

ORDER = 24  # of the quadrature rules
NEXT_TO = 1e-8  # the distance from the boundary that stands for none, over the flips' width
NARROWEST = 1e-4  # the least window that is looked for, over tan(πE)
WIDEST = 9.0  # the largest, in standard deviations of t
_ROUNDING = 1e-9  # relative, of a mean of labels that cancel


class Shares(NamedTuple):
    """Shares of the rows within a window."""

    missed: float  # whose label is not the learner's answer
    wrong: float  # whose label is not the true one
    wrong_of_missed: float  # of the missed ones, whose label is not the true one


class _Side(NamedTuple):
    t: Float[Array, " nodes"]
    measure: Float[Array, " nodes"]  # their weights
    labels: Float[Array, "2 means nodes"]  # as `dp_theory.loop.placed.score_nodes` has them


def shares(flips: BoundaryFlips, test_error: float, alpha: float = np.inf) -> Shares:
    """What a learner of this test error meets within its window |t| ≤ alpha.

    >>> from dp_theory import BoundaryFlips
    >>> found = shares(BoundaryFlips(0.3), test_error=0.1, alpha=0.2)
    >>> round(found.missed, 3), round(found.wrong, 3)
    (0.414, 0.236)
    """
    require_number(test_error=test_error, alpha=alpha)
    require("test_error", test_error, 0 < test_error < 0.5, "lie in (0, 1/2): it is the learner's")
    require("alpha", alpha, alpha > 0, "be positive: it is the window")
    side = _one_side(flips, test_error, alpha)
    along = np.cos(np.pi * test_error) * side.t
    _, weights, z, starts = flips.inner(along, float(np.sin(np.pi * test_error)), ORDER)
    mass = weights * np.repeat(side.measure, np.diff(starts, append=len(z)))
    right, wrong = (mass * probability for probability in flips.outcomes(z))
    answer_is_right = z > 0
    rows = float(mass.sum())
    missed = float(np.where(answer_is_right, wrong, right).sum())
    wrong_and_missed = float(wrong[answer_is_right].sum())
    return Shares(
        missed=missed / rows,
        wrong=float(wrong.sum()) / rows,
        wrong_of_missed=wrong_and_missed / missed,
    )


def _one_side(flips: BoundaryFlips, test_error: float, alpha: float) -> _Side:
    window = PLAIN if np.isinf(alpha) else KeepHard(alpha)
    cosine = float(np.cos(np.pi * test_error))
    t, measure, labels = score_nodes(PlacedRows(Addition(1.0, keep=window), flips, *view_of_labeller(cosine)), ORDER)
    inside = (t > 0) & (window.keep_probability(t) > 0)
    return _Side(t[inside], measure[inside], labels[..., inside])


def _missed(flips: BoundaryFlips, test_error: float, alpha: float) -> float:
    """`Shares.missed`, without the inner integral where labels have a closed form."""
    side = _one_side(flips, test_error, alpha)
    agreeing, missed = side.labels[:, 0] @ side.measure
    return float(missed / (agreeing + missed))


@dataclass(frozen=True)
class Missed:
    """A plan of rounds of n rows: the learner misses a given share of its window's labels."""

    flips: BoundaryFlips  # of the rows that are added, which may be labelled worse than plain ones
    share: float = 0.2  # the share of the labels that the learner misses

    def __post_init__(self) -> None:
        require_number(share=self.share)
        require("share", self.share, 0 < self.share < 0.5, "lie in (0, 1/2): at the boundary half are missed")

    def alpha(self, test_error: float) -> float:
        """The window, infinite for plain rows."""

        def excess(log_alpha: float) -> float:
            return _missed(self.flips, test_error, float(np.exp(log_alpha))) - self.share

        if excess(np.inf) >= 0:
            return np.inf
        low = np.log(NARROWEST * np.tan(np.pi * test_error))
        most = excess(low) + self.share
        require("share", self.share, self.share <= most, f"be at most {most:.6g}, missed in the narrowest window")
        return float(np.exp(root_scalar(excess, bracket=(low, np.log(WIDEST)), xtol=1e-12).root))

    def __call__(self, test_error: float) -> Addition:
        alpha = self.alpha(float(test_error))
        return Addition(kept=1.0, keep=PLAIN if np.isinf(alpha) else KeepHard(alpha), flip=self.flips)


def row_worth(flips: BoundaryFlips, alpha: float) -> float:
    """How many plain rows teach as much as one of the window |z| ≤ alpha, once the learner knows where the boundary is.

    For a selector that is the truth itself, lam → 0+ and psi = d/kept < 1, the test error E follows

        (1)  tan²(πE) = psi/(1 - psi) · γ(γ - c²)/c²,   γ = E[z²; kept],   c = E[y z; kept]

    The worth is this expression for plain rows over that for the window's.

    >>> from dp_theory import BoundaryFlips
    >>> round(float(row_worth(BoundaryFlips(0.5), alpha=1e-3)), 3)
    2.454
    """
    require_number(alpha=alpha)
    require("alpha", alpha, alpha >= SMALLEST, f"be positive, and at least {SMALLEST:g}: it is the window")
    if flips(0.0) == 0.5:
        # A narrower window would lose the digits of 1 - 2 P(flip | z), and has the same worth.
        alpha = max(alpha, NEXT_TO * flips.width)
    z, measure = half_line((alpha, *flips.jumps, *flips.levels))
    right, wrong = flips.outcomes(z)
    in_window = measure * (z <= alpha)
    second = float(in_window @ z**2) / in_window.sum()
    pull = float((in_window * (right - wrong)) @ z) / in_window.sum()
    is_useful = pull > -_ROUNDING * np.sqrt(second)
    require("alpha", alpha, is_useful, "leave labels that are right more often than wrong")
    plain = flips.signal**2
    return (1 - plain) / plain * pull**2 / (second * (second - pull**2))


WINDOWS = (Window(0.25), Window(1.0))  # plans of rounds that are compared by default
LAMS = (3e-4, 0.003, 0.03, 0.1, 0.3, 1.0, 3.0)  # of loops, per row of the first pool
FIRMER = (3.0, 10.0)  # of loops, over the best ridge of plain rows: rows near the boundary have more wrong labels
KEEPS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])  # kept fractions that selections try
COSTS = Costs()
RULE_NAMES = (*rule_names("optimised"), "entropy")
_SAME = 1e-12  # relative difference of errors that says nothing
_ANY_ERROR = 0.25  # of a learner: the share of plain rows that are wrong does not depend on it


def plain_lam(flips: BoundaryFlips, rows: Any) -> Any:
    """The best ridge per row of static data (T8.7)."""
    return (1 / flips.signal**2 - 1) / np.asarray(rows)


def plain_error(flips: BoundaryFlips, rows: Any) -> Any:
    """Test error of static data, `rows` per dimension, at the best ridge."""
    return theorem1(1.0, 1.0, 0.0, flips.signal, 1.0, 1 / np.asarray(rows), plain_lam(flips, rows))[0]


def plain_rows(flips: BoundaryFlips, test_error: float) -> float:
    """Static rows per dimension that reach a test error."""

    def excess(log_rows: float) -> float:
        return float(np.log(plain_error(flips, np.exp(log_rows)) / test_error))

    return float(np.exp(root_scalar(excess, bracket=(-40, 40), xtol=1e-12).root))


def worth(
    flips: BoundaryFlips,
    *,
    rounds: int = 12,
    phi: float = 0.5,
    plans: Sequence[RoundPlan] = WINDOWS,
    lams: Sequence[float] | None = None,
    costs: Costs = COSTS,
    advance: Callable[[int], None] = lambda loops: None,
) -> pd.DataFrame:
    """Practice against static data: a row for each stage, which is at its best plan and ridge.

    `kept` counts training rows per dimension; `samples` and `compute` are static data's cost of this error over
    practice's; `saved` and `saved_compute` are shares of static data's error; `missed` and `wrong` are shares of the
    stage's new rows.
    """
    import pandas as pd

    require_whole(rounds=rounds)
    require("rounds", rounds, rounds >= 1, "be at least 1")
    require_costs(direct=costs.sample("direct"), training=costs.training)
    start = PracticeProblem(phi, 0.0, flip=flips)
    ridges = _ridges(flips, 1 / phi) if lams is None else lams
    runs = []
    for number, plan in enumerate(plans):
        for lam in ridges:
            solved = solve_stages(replace(start, lam=lam, additions=[plan] * rounds))
            runs.append(_Run(number, lam, solved, _new_rows(flips, solved)))
            advance(1)
    rows = []
    for stage in range(rounds + 1):
        best = min(runs, key=lambda run: run.solved.test_error[stage])
        rows.append(_stage_row(flips, phi, costs, best, stage))
    return pd.DataFrame(rows).astype({"stage": int, "plan": int})


def loops_of_worth(flips: BoundaryFlips, phi: float, plans: Sequence[RoundPlan] = WINDOWS) -> int:
    """The number of loops that `worth` solves."""
    return len(plans) * len(_ridges(flips, 1 / phi))


class _Run(NamedTuple):
    plan: int  # its number
    lam: float
    solved: Stages
    new: list[Shares]  # of each stage's new rows


def _stage_row(flips: BoundaryFlips, phi: float, costs: Costs, run: _Run, stage: int) -> dict[str, Any]:
    error = float(run.solved.test_error[stage])
    kept = run.solved.kept[stage] / phi
    spent = costs.axes("direct", kept, kept, first=run.solved.kept[0] / phi)["compute"]
    rows_to_same_error = plain_rows(flips, error)
    rows_for_same_cost = spent / costs.row("static")
    return {
        "stage": stage,
        "kept": kept,
        "plan": run.plan,
        "lam": run.lam,
        "test_error": error,
        "samples": rows_to_same_error / kept,
        "compute": rows_to_same_error / rows_for_same_cost,
        "saved": _saved(error, plain_error(flips, kept)),
        "saved_compute": _saved(error, plain_error(flips, rows_for_same_cost)),
        "missed": run.new[stage].missed,
        "wrong": run.new[stage].wrong,
    }


def _saved(error: float, plain: float) -> float:
    return 0.0 if abs(error - plain) < _SAME * plain else 1 - error / plain


def _ridges(flips: BoundaryFlips, rows: float) -> list[float]:
    plain = float(plain_lam(flips, rows))
    firmer = [plain * factor for factor in FIRMER if plain * factor > LAMS[-1]]
    return [*LAMS, plain, *firmer]


def _new_rows(flips: BoundaryFlips, solved: Stages) -> list[Shares]:
    found = [Shares(np.nan, shares(flips, _ANY_ERROR).wrong, np.nan)]
    for error, addition in zip(solved.test_error, solved.additions, strict=False):  # the last stage adds no rows
        if not isinstance(addition, Addition) or not isinstance(addition.keep, KeepHard | KeepAll):
            raise InputError(f"plan {addition!r} must keep a window, or all rows")
        own_flips = addition.flips(flips)
        if not isinstance(own_flips, BoundaryFlips):
            raise InputError(f"flip = {own_flips} of {addition!r} must be BoundaryFlips, or left to the problem's")
        alpha = float(addition.keep.alpha) if isinstance(addition.keep, KeepHard) else np.inf
        found.append(shares(own_flips, float(error), alpha))
    return found


def selections(flips: BoundaryFlips, rho: float, rows: Any, *, keep: Any = KEEPS, lam: Any = None) -> pd.DataFrame:
    """One selection by a fixed selector, at its best kept fraction and ridge, for each rule and number of training rows
    per dimension.

    Columns: rule (`static` for plain rows), rows, keep, lam, test_error, and saved, the share of static data's error
    that the rule saves.

    >>> from dp_theory import BoundaryFlips
    >>> table = selections(BoundaryFlips(0.3), 0.9, 8.0, keep=[0.2, 0.5]).set_index("rule")
    >>> table["test_error"].round(3)[["static", "keep-hard"]].tolist()
    [0.098, 0.06]
    """
    import pandas as pd

    require_number(rho=rho)
    require("rho", rho, 0 <= rho < 1, "lie in [0, 1): it is cos(w_s, w0)")
    fractions = np.atleast_1d(kept_fraction(keep))
    require_positive("training rows per dimension", rows=rows)
    require_ridge(0.0 if lam is None else lam)
    sizes = np.atleast_1d(np.asarray(rows, float))
    ridges = None if lam is None else np.atleast_1d(np.asarray(lam, float))
    one_shot = _OneShot(flips, rho, 1 / sizes, ridges)
    static = one_shot.with_rule(KeepAll())
    tables = [one_shot.table("static", static, 1.0)]
    for name in RULE_NAMES:
        rule = RULES[name]
        tried = [one_shot.with_rule(rule.with_keep_fraction(min(p, rule.largest_keep))) for p in fractions]
        errors = np.array([learner.test_error for learner in tried])
        lams = np.array([learner.lam for learner in tried])
        best = errors.argmin(0)
        each_size = np.arange(len(sizes))
        learner = _SelectedLearner(errors[best, each_size], lams[best, each_size])
        tables.append(one_shot.table(name, learner, fractions[best]))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(saved=1 - table["test_error"] / np.tile(static.test_error, len(tables)))


class _SelectedLearner(NamedTuple):
    test_error: Array  # (sizes,)
    lam: Array  # (sizes,) per training row


@dataclass(frozen=True, eq=False)
class _OneShot:
    flips: BoundaryFlips
    rho: float
    psi: Array  # (sizes,) d over the number of training rows
    lams: Array | None  # (ridges,) to take the best of; None: of all ridges

    def with_rule(self, rule: Rule) -> _SelectedLearner:
        moments = kept_moments(rule, self.flips, self.rho)

        def error(lam: Any) -> Any:
            return ridge_error(moments, self.rho, self.psi, lam)

        if self.lams is None:
            return _SelectedLearner(*best_ridge(error, self.psi.shape))
        errors = error(self.lams[:, None])
        best = errors.argmin(0)
        return _SelectedLearner(errors[best, np.arange(len(self.psi))], self.lams[best])

    def table(self, name: str, learner: _SelectedLearner, keep: float | Array) -> pd.DataFrame:
        import pandas as pd

        columns = {"rule": name, "rows": 1 / self.psi, "keep": keep}
        return pd.DataFrame(columns | {"lam": learner.lam, "test_error": learner.test_error})


def kept_moments(rule: Rule, flips: BoundaryFlips, rho: float) -> Moments:
    """Theorem 1's moments per kept row, with labels that are wrong near the boundary."""
    kept = kept_rows(PlacedRows(Addition(1.0, keep=rule), flips, *view_of_labeller(rho)), ORDER)
    p = kept.mass.sum()
    beta_tilde, beta = kept.linear.sum(0)
    return Moments(1.0, kept.second[:, 0, 0].sum() / p, beta / p, beta_tilde / p)
