"""Static data, pruning, direct selection and practice, all on labels that are wrong near the boundary (ours).

Samples are counted per dimension. Every learner has its best ridge: static data and selections exactly, loops the best
of LAMS and of some that follow static data's. For plain rows that is lam = psi(1 − c²)/c² per row, c = E[y z]
(`BoundaryFlips.signal`), whatever the flips' shape: ridge regression knows no more of their labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import root_scalar

from dp_base.errors import InputError
from dp_theory.noise.rows import ORDER, Shares, shares
from dp_theory.numerics.checks import Array, numbers, require, require_magnitude, require_number, require_whole
from dp_theory.numerics.costs import Costs, require_costs
from dp_theory.practice.additions import Addition, RoundPlan, Window
from dp_theory.practice.cohorts import weighted_moments
from dp_theory.practice.practice_problem import PracticeProblem
from dp_theory.practice.prediction import Stages, solve_stages
from dp_theory.ridge.best import best_ridge, ridge_error
from dp_theory.ridge.theorem1 import theorem1
from dp_theory.rules import RULES, KeepAll, KeepHard, Moments, Rule, kept_fraction, rule_names
from dp_theory.span.flips import BoundaryFlips

if TYPE_CHECKING:
    import pandas as pd

WINDOWS = tuple(Window(kappa) for kappa in (0.25, 1.0))
LAMS = (3e-4, 0.003, 0.03, 0.1, 0.3, 1.0, 3.0)  # of loops, per row of the first pool
FIRMER = (3.0, 10.0)  # times the best ridge of plain rows: of loops, whose rows have more wrong labels
KEEPS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
SHARES = (0.003, 0.01, 0.02, 0.04, 0.06, 0.09, 0.12, 0.16, 0.2, 0.25, 0.3)
COSTS = Costs()
RULE_NAMES = (*rule_names("optimised"), "entropy")
SAMPLES, COMPUTE = "as many samples", "as much compute"


def plain_lam(flips: BoundaryFlips, rows: Any) -> Any:
    """The best ridge per row of static data, `rows` per dimension. Broadcasts."""
    return (1 / flips.signal**2 - 1) / np.asarray(rows)


def plain_error(flips: BoundaryFlips, rows: Any) -> Any:
    """Test error of static data, `rows` per dimension, at the best ridge. Broadcasts."""
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
) -> pd.DataFrame:
    """Practice against static data round by round: a row per stage, each with the plan and ridge that are best there.

    The first pool has 1/phi plain rows per dimension, each round adds what a plan says; rows that fail the flips' check
    are made and not kept, static data is not checked. lams: per row of the first pool; by default LAMS, its own best,
    with which stage 0 is static data, and FIRMER ones beyond all LAMS. Columns: stage; kept and made, training rows and
    samples per dimension; plan, its number, and lam; test_error; samples, those of static data that are worth one of
    practice's, and compute, the same of their cost; saved and saved_compute, the share of the error of as many plain
    samples, or of as much compute, that practice saves; missed and wrong, of the stage's new rows: the shares that the
    selector misses (nan of the first pool) and whose label is wrong. Raises InputError for what `PracticeProblem`
    refuses.
    """
    import pandas as pd

    require_whole(rounds=rounds)
    require("rounds", rounds, rounds >= 1, "be at least 1")
    require_costs(direct=costs.sample("direct"), training=costs.training)
    start = PracticeProblem(phi, 0.0, flip=flips)
    ridges = _ridges(flips, 1 / phi) if lams is None else lams
    runs = [
        (number, lam, solve_stages(replace(start, lam=lam, additions=[plan] * rounds)))
        for number, plan in enumerate(plans)
        for lam in ridges
    ]
    made = [_made(flips, phi, solved) for _, _, solved in runs]
    rows = []
    for stage in range(rounds + 1):
        best = min(range(len(runs)), key=lambda run: runs[run][2].test_error[stage])
        number, lam, solved = runs[best]
        samples, new = made[best]
        error, kept, generated = float(solved.test_error[stage]), solved.kept[stage] / phi, samples[stage]
        spent = costs.axes("direct", generated, kept, first=samples[0])["compute"]
        same, needed = plain_rows(flips, error), spent / costs.row("static")
        rows.append({
            "stage": stage, "kept": kept, "made": generated, "plan": number, "lam": lam, "test_error": error,
            "samples": same / generated, "compute": same / needed,
            "saved": 1 - error / plain_error(flips, generated), "saved_compute": 1 - error / plain_error(flips, needed),
            "missed": new[stage].missed, "wrong": new[stage].wrong,
        })  # fmt: skip
    return pd.DataFrame(rows).astype({"stage": int, "plan": int})


def _ridges(flips: BoundaryFlips, rows: float) -> list[float]:
    """Ridges for loops to try, per row of a first pool of `rows` per dimension.

    That of plain rows is the best of static data at any number of rows: in total it does not depend on it.
    """
    plain = float(plain_lam(flips, rows))
    return [*LAMS, plain, *(plain * factor for factor in FIRMER if plain * factor > LAMS[-1])]


def _made(flips: BoundaryFlips, phi: float, solved: Stages) -> tuple[Array, list[Shares]]:
    """Samples per dimension that were made up to each stage (stages,), and what each stage's new rows are like."""
    first = shares(flips, 0.25)
    found = [Shares(np.nan, first.wrong, np.nan, first.passed)]
    for error, addition in zip(solved.test_error, solved.additions, strict=False):
        if not isinstance(addition, Addition) or not isinstance(addition.keep, KeepHard | KeepAll):
            raise InputError(f"plan {addition!r} must keep a window, or all rows, of which the samples made are known")
        rule, own = addition.keep, addition.flips(flips)
        if not isinstance(own, BoundaryFlips):
            raise InputError(f"flip = {own} of {addition!r} must be BoundaryFlips, or left to the problem's")
        found.append(shares(own, float(error), float(rule.alpha) if isinstance(rule, KeepHard) else np.inf))
    new = np.diff(solved.kept, prepend=0.0) / [rows.passed for rows in found]
    return np.cumsum(new) / phi, found


def kept_price(flips: BoundaryFlips, costs: Costs = COSTS) -> float:
    """What a directly drawn row at the boundary costs with its training, in plain rows; the failed ones count, too."""
    passed = float(np.sum(flips.outcomes(np.zeros(1))))
    return (costs.sample("direct") / passed + costs.training) / costs.row("static")


def require_selection(flips: BoundaryFlips, rho: float) -> None:
    """Raise InputError unless rho lies in [0, 1) and the flips have no label check, as `selections` needs it."""
    if flips.check is not None:
        raise InputError("selections has no label check: give the flips as flip of a SpanProblem's Group, or use worth")
    require_number(rho=rho)
    require("rho", rho, 0 <= rho < 1, "lie in [0, 1): it is cos(w_s, w0)")


def selections(flips: BoundaryFlips, rho: float, rows: Any, *, keep: Any = KEEPS, lam: Any = None) -> pd.DataFrame:
    """One-shot selection by a fixed selector of cosine rho to the truth: a row per rule and number of rows.

    rows: training rows per dimension, a number or an array (N,); each rule is at its best kept fraction of `keep` and
    at its best ridge per training row, of `lam` where that is given; 0 is the ridgeless limit. Columns: rule, with
    static for plain rows, rows, keep, lam, test_error, saved, the share of static's error. Raises InputError for
    parameters outside their domain, and for flips with a check, which a SpanProblem has as well.
    """
    import pandas as pd

    require_selection(flips, rho)
    given, fractions = {"rows": rows, "lam": 0.0 if lam is None else lam}, np.atleast_1d(kept_fraction(keep))
    sizes, ridges = (np.atleast_1d(numbers(name, value)) for name, value in given.items())
    require("rows", sizes, (sizes > 0) & np.isfinite(sizes), "be positive and finite: training rows per dimension")
    require("lam", ridges, (ridges >= 0) & np.isfinite(ridges), "be at least 0 and finite: 0 is the ridgeless limit")
    require_magnitude(rows=sizes, lam=ridges)
    psi = 1 / sizes

    def least(rule: Rule, cosine: float) -> tuple[Array, Array]:
        moments = kept_moments(rule, flips, cosine)

        def error(ridge: Any) -> Any:
            return ridge_error(moments, cosine, psi, ridge)

        if lam is None:
            return best_ridge(error, psi.shape)
        errors = error(ridges[:, None])
        best = errors.argmin(0)
        return errors[best, np.arange(len(psi))], ridges[best]

    static, ridge = least(KeepAll(), rho)
    tables = [pd.DataFrame({"rule": "static", "rows": 1 / psi, "keep": 1.0, "lam": ridge, "test_error": static})]
    for name in RULE_NAMES:
        found = [least(RULES[name].with_keep_fraction(min(p, RULES[name].largest_keep)), rho) for p in fractions]
        errors = np.array([error for error, _ in found])
        best = errors.argmin(0)
        at = best, np.arange(len(psi))
        lams = np.array([ridge for _, ridge in found])[at]
        keeps = fractions[best]
        tables.append(
            pd.DataFrame({"rule": name, "rows": 1 / psi, "keep": keeps, "lam": lams, "test_error": errors[at]})
        )
    table = pd.concat(tables, ignore_index=True)
    return table.assign(saved=1 - table["test_error"] / np.tile(static, len(tables)))


def kept_moments(rule: Rule, flips: BoundaryFlips, rho: float) -> Moments:
    """Theorem 1's moments of a rule per kept row, with labels that are wrong near the boundary."""
    _, mass, linear, second = weighted_moments(Addition(1.0, keep=rule), flips, rho, ORDER)
    p, (beta_tilde, beta) = mass.sum(), linear.sum(0)
    return Moments(1.0, second[:, 0, 0].sum() / p, beta / p, beta_tilde / p)


def phases(
    wrong: Sequence[float] = SHARES,
    *,
    shape: str = "probit",
    eps: float = 0.5,
    rho: float = 0.9,
    rounds: int = 12,
    phi: float = 0.5,
) -> pd.DataFrame:
    """Where practice and keep-hard help: a row per panel, number of training rows and share of wrong plain labels.

    Columns: panel; x, training rows per dimension; y, the share of plain rows whose label is wrong; gain, the share of
    static data's error that is saved, negative where static data is better. Panels: practice against as many samples,
    practice against as much compute, keep-hard by a fixed selector of cosine rho against as many training rows.
    """
    import pandas as pd

    parts = []
    for share in wrong:
        flips = BoundaryFlips.of_share(share, shape=shape, eps=eps)
        table = worth(flips, rounds=rounds, phi=phi).query("stage > 0")
        hard = selections(flips, rho, table["kept"]).query("rule == 'keep-hard'")
        gains = {f"practice, {SAMPLES}": table["saved"], f"practice, {COMPUTE}": table["saved_compute"],
                 f"keep-hard, ρ = {rho:g}": hard["saved"]}  # fmt: skip
        x = table["kept"].round(9).to_numpy()  # the same for every share
        parts += [pd.DataFrame({"panel": panel, "x": x, "y": share, "gain": gain.to_numpy()})
                  for panel, gain in gains.items()]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def last_useful(table: pd.DataFrame) -> pd.DataFrame:
    """The share of wrong labels beyond which the gain of `phases` is negative, per panel and number of rows.

    Columns panel, x, share: interpolated between neighbours; nan where the gain is negative throughout, inf where it is
    positive throughout.
    """
    import pandas as pd

    found = []
    for (panel, x), cells in table.groupby(["panel", "x"], sort=False):
        y, gain = cells.sort_values("y")[["y", "gain"]].to_numpy(float).T
        useful = np.flatnonzero(gain > 0)
        last = useful[-1] if len(useful) else -1
        if last < 0:
            share = np.nan
        elif last == len(y) - 1:
            share = np.inf
        else:
            share = y[last] + (y[last + 1] - y[last]) * gain[last] / (gain[last] - gain[last + 1])
        found.append({"panel": panel, "x": x, "share": share})
    return pd.DataFrame(found)
