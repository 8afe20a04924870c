"""How much to generate, how hard to select, how to spend a budget: the parameters of the least test error (ours).

The learner is Theorem 1's, trained on m kept rows. psi = d/m, and the ridge lam is per *training* row, so that pruning
a pool and drawing directly (`dp_theory.Direct`) give the same learner at different cost. The selector is fixed, at
cosine rho to the truth, and independent of the rows; in `loop` the learner selects for itself. Labels are flipped
with probability `flip`, whatever x. docs/theory.md says what comes out.

All of this is the limit d → ∞. Hard selection reaches it late: kept rows are short along w_s, of variance gamma/p
(alpha²/3 for small p), so that what is learned along w_s is uncertain until d is well above p/gamma. With a finite
`d`, `least_error` and `optimum` take the mean test error in that dimension, by dp_theory.ridge.finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import (
    Real,
    common_shape,
    numbers,
    require,
    require_magnitude,
    require_number,
    require_numbers,
    require_some,
)
from dp_theory.numerics.costs import SMALLEST_KEEP, STRATEGIES, TRAINING_COST, Costs, generated, require_costs
from dp_theory.numerics.minimise import minimise
from dp_theory.practice.practice_problem import Addition, PracticeProblem
from dp_theory.practice.prediction import solve_stages
from dp_theory.ridge.best import best_ridge, ridge_error
from dp_theory.ridge.finite import SPECIAL, mean_error
from dp_theory.rules import RULES, Direct, KeepAll, Moments, Rule, rule_names
from dp_theory.rules.base import kept_fraction

if TYPE_CHECKING:
    import pandas as pd

RULE_NAMES = rule_names("optimised")
_TOGETHER = 128  # cells searched at a time, each over a grid of p and lam


class Least(NamedTuple):
    """A least test error and where it is attained; arrays of one shape."""

    test_error: Any
    keep: Any  # kept fraction p
    lam: Any


def least_error(
    name: str,
    rho: Real,
    psi: Any,
    *,
    keep: Real | None = None,
    lam: Real | None = None,
    flip: Real = 0.0,
    smallest_keep: float = SMALLEST_KEEP,
    d: float = np.inf,
) -> Least:
    """Least test error over p in [smallest_keep, 1] and over lam, 0 or in RIDGES, each unless given; 1e-8 accurate.

    name: one of RULE_NAMES; p = 1 is plain data for all. psi: d/m, or a function of p, where a budget pays for fewer
    rows of a smaller p. lam = 0 is the ridgeless limit, d the dimension: for a finite one, p/gamma ≤ d, where the
    expansion in 1/d holds, and nan at a p that is given where it does not. Arrays broadcast. Raises InputError for an
    unknown rule and for parameters outside their domain.
    """
    _check(rho, flip, lam)
    require_number(d=d)
    require("d", d, d > SPECIAL, f"be above {SPECIAL}: selector and truth span so many dimensions")
    require("smallest keep", smallest_keep, 0 < smallest_keep < 1, "lie in (0, 1): it is a kept fraction")
    if keep is not None:
        kept_fraction(keep)
    rho, flip, keep, lam = (None if x is None else np.asarray(x, float) for x in (rho, flip, keep, lam))
    fixed: Any = None if callable(psi) else numbers("psi", psi)
    rows: Callable[[Any], Any] = psi if callable(psi) else lambda p: fixed
    plain = numbers("psi", rows(1.0))
    require("psi", plain, (plain > 0) & np.isfinite(plain), "be positive and finite: it is d/m")
    require("psi", plain, plain <= d, f"be at most d = {d:g}: there is less than one training row")
    require_magnitude(psi=plain)
    given = {"psi": plain, "rho": rho, "flip": flip, "keep": keep, "lam": lam}
    shape = common_shape(**{name: value for name, value in given.items() if value is not None})

    def sound(p: Any, moments: Moments) -> Any:
        """Whether the expansion in 1/d holds, and there is a row."""
        return (moments.gamma * d >= 1) & (rows(p) <= d)

    def over_lam(p: Any) -> tuple[Any, Any]:
        rule = _rule(name, p)
        moments = rule.moments(rho).flipped(flip)
        fourth = None if d == np.inf else rule.fourth_moments(rho).flipped(flip)
        holds = True if fourth is None else sound(p, moments)

        def error(ridge: Any) -> Any:
            if fourth is None:
                return ridge_error(moments, rho, rows(p), ridge)
            return np.where(holds, mean_error(moments, fourth, rho, rows(p), ridge, d / rows(p)), 0.5)

        return (error(lam), lam) if lam is not None else best_ridge(error, np.shape(p))

    if keep is None:
        _, p = minimise(lambda p: over_lam(p)[0], smallest_keep, 1.0, shape)
    else:
        p = np.broadcast_to(keep, shape)
    error, ridge = over_lam(p)
    if keep is not None and d < np.inf:
        error = np.where(sound(p, _rule(name, p).moments(rho)), error, np.nan)
    return Least(*(np.broadcast_to(x, shape)[()] for x in (error, p, ridge)))


def keep_hard_law(rho: Real, psi: Real, flip: Real = 0.0) -> Any:
    """Test error of keep-hard in the limit lam → 0+ and then p → 0, for psi = d/m < 1 and |rho| < 1:

        tan(πE) = √(1 - rho²)·tan(πE_plain),    tan(πE_plain) = √(psi/(1 - psi))·√((π/2)/(1 - 2 flip)² - 1)

    The limits do not commute: at any lam > 0 the component along w_s, in which all rows are small, is lost as p → 0.
    Everything broadcasts. Derived by `dp theory derive keep-hard`. Raises InputError outside this domain.
    """
    _check(rho, flip, None)
    psi = numbers("psi", psi)
    require("rho", rho, np.abs(rho) < 1, "lie in (-1, 1): the law needs a selector that is not the truth")
    require("psi", psi, (psi > 0) & (psi < 1), "lie in (0, 1): the law needs m > d")
    plain = np.sqrt(psi / (1 - psi) * (np.pi / 2 / (1 - 2 * np.asarray(flip)) ** 2 - 1))
    return np.arctan(np.sqrt(1 - np.square(rho)) * plain) / np.pi


def boundary(rho: Real, *, lam: Real | None = None, flip: Real = 0.0) -> Any:
    """The largest psi in [0.05, 5] at which keep-hard, best below it, and keep-easy, best above, change places.

    Each at its best p and, unless lam is given, its best ridge. nan where they do not change places. Arrays broadcast.
    Raises InputError for parameters outside their domain.
    """
    from scipy.optimize.elementwise import find_root

    _check(rho, flip, lam)
    given = {"rho": rho, "flip": flip} | ({} if lam is None else {"lam": lam})
    shape = common_shape(**given)

    def lead(log_psi: Any, *parameters: Any) -> Any:
        at = dict(zip(given, parameters, strict=True))
        hard, easy = (least_error(name, psi=np.exp(log_psi), **at).test_error for name in ("keep-hard", "keep-easy"))
        return easy / hard - 1

    grid, found = np.linspace(np.log(0.05), np.log(5.0), 48), np.full(prod(shape), np.nan)
    for cells, parameters in _blocks(given, shape, _TOGETHER // len(grid)):
        leads = lead(grid[:, None], *parameters.values())
        falls = (leads[:-1] > 0) & (leads[1:] <= 0)
        last = len(grid) - 2 - np.argmax(falls[::-1], axis=0)
        some = falls.any(axis=0)
        bracket, args = (grid[last[some]], grid[last[some] + 1]), [x[some] for x in parameters.values()]
        if some.any():
            root = find_root(lead, bracket, args=tuple(args), tolerances={"xatol": 1e-7})
            found[cells[some]] = np.exp(root.x)
    return found.reshape(shape)[()]


def optimum(
    rho: Real,
    *,
    psi: Real | None = None,
    budget: Real | None = None,
    candidate_cost: float = 1.0,
    guided_cost: float | None = None,
    training_cost: float = TRAINING_COST,
    keep: Real | None = None,
    lam: Real | None = None,
    flip: Real = 0.0,
    smallest_keep: float = SMALLEST_KEEP,
    d: float = np.inf,
) -> pd.DataFrame:
    """Every strategy with every rule at its best, a row each, the best first.

    Arrays of rho, psi, budget, keep, lam and flip broadcast, to a phase diagram. The table then has all cells, in C
    order, the best of a cell first, and further columns: cell, its number, rho, flip and, if given, budget.
    `table.groupby("cell").first()` is what wins.

    Exactly one of psi = d/m, where the number of training rows is given, and budget, the cost per dimension. Costs are
    those of dp_theory.numerics.costs: candidate_cost of a plain sample, guided_cost of a directly drawn one (by default
    DIRECT_COST plain ones, as the paper measures), training_cost of training on a row. keep, lam: fixed p and ridge,
    otherwise the best. Columns: strategy, rule, keep, lam, psi, test_error; per dimension: kept, generated, cost;
    needs_d: p/gamma, which d must exceed by far for the limit d → ∞ to hold. Raises InputError for parameters outside
    their domain.
    """
    import pandas as pd

    if (psi is None) == (budget is None):
        raise InputError("give exactly one of psi (= d/m, m training rows) and budget (cost per dimension)")
    prices = {"candidate": candidate_cost, "guided": guided_cost, "training": training_cost}
    require_costs(**{name: price for name, price in prices.items() if price is not None})
    costs = Costs(candidate_cost, guided_cost, training_cost)
    if budget is not None:
        require_numbers(budget=budget)
        require("budget", budget, (np.asarray(budget) > 0) & np.isfinite(budget),
                "be positive: it is the cost per dimension")  # fmt: skip
        if min(costs.row("static"), costs.row("direct")) == 0:
            raise InputError("a training row costs nothing: no budget limits their number")
    options = {"psi": psi, "budget": budget, "keep": keep, "lam": lam}
    given = {"rho": rho, "flip": flip} | {name: value for name, value in options.items() if value is not None}
    require_numbers(**given)
    require_some(**given)
    shape = common_shape(**given)
    tables = [
        pd.DataFrame({"cell": cells, **_best(strategy, name, costs, parameters, smallest_keep, d)})
        for cells, parameters in _blocks(given, shape, _TOGETHER)
        for strategy in STRATEGIES
        for name in (("keep-hard",) if strategy == "static" else RULE_NAMES)
    ]
    table = pd.concat(tables).sort_values(["cell", "test_error", "cost"], kind="stable", ignore_index=True)
    varied = ["cell", "rho", "flip", "budget"]
    return table if shape else table.drop(columns=varied, errors="ignore")


def _best(
    strategy: str, name: str, costs: Costs, given: dict[str, Any], smallest_keep: float, d: float
) -> dict[str, Any]:
    """Columns of `optimum`, (cells,) each or one for all: a strategy with a rule at its best, for given (cells,)."""
    given = dict(given)
    psi, budget, price = given.pop("psi", None), given.pop("budget", None), partial(costs.row, strategy)
    if strategy == "static":
        given["keep"] = 1.0
    rows = psi if psi is not None else lambda p: price(p) / budget
    least = least_error(name, psi=rows, smallest_keep=smallest_keep, d=d, **given)
    p = least.keep
    kept = 1 / psi if psi is not None else budget / price(p)
    return {
        "rho": given["rho"], "flip": given["flip"], **({} if budget is None else {"budget": budget}),
        "strategy": strategy, "rule": "keep-all" if strategy == "static" else name, "keep": p, "lam": least.lam,
        "psi": 1 / kept if psi is None else psi, "test_error": least.test_error, "kept": kept,
        "generated": generated(strategy, kept, p),
        "cost": kept * price(p), "needs_d": 1 / _rule(name, p).moments(given["rho"]).gamma,
    }  # fmt: skip


def loop(psi: float, *, keep: float = 0.2, lam: float | None = None, flip: float = 0.0) -> pd.DataFrame:
    """A loop of one round. A learner trains on N plain rows and selects N more at kept fraction `keep`; psi = d/N.

    Exact (dp_theory.practice): the final learner trains on all 2N rows, both learners with the penalty lam·N, which is
    the best one in [1e-3, 1e2] for the rule unless given. A row per rule, the best first. Columns rule, keep, lam,
    test_error. Raises InputError for parameters outside their domain.
    """
    import pandas as pd

    _check(0.0, flip, lam)
    require("keep", keep, 0 < keep < 1, "lie in (0, 1): it is a kept fraction")
    rules: dict[str, Rule] = {"keep-all": KeepAll()}
    rules |= {name: RULES[name].with_keep_fraction(keep) for name in RULE_NAMES}
    rows = []
    for name, rule in rules.items():

        @np.vectorize
        def error(ridge: float, rule: Rule = rule) -> float:
            return solve_stages(PracticeProblem(psi, ridge, [Addition(kept=1.0, keep=rule)], flip=flip)).test_error[-1]

        least, ridge = (error(lam), lam) if lam is not None else minimise(error, 1e-3, 1e2, ())
        kept = 1.0 if name == "keep-all" else keep
        rows.append({"rule": name, "keep": kept, "lam": float(ridge), "test_error": float(least)})
    return pd.DataFrame(rows).sort_values("test_error", ignore_index=True)


def _blocks(
    given: dict[str, Any], shape: tuple[int, ...], count: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Numbers of `count` cells at a time of an array of parameters, and these parameters there, (count,) each."""
    flat = {name: np.broadcast_to(np.asarray(value, float), shape).ravel() for name, value in given.items()}
    for start in range(0, prod(shape), count):
        cells = np.arange(start, min(start + count, prod(shape)))
        yield cells, {name: values[cells] for name, values in flat.items()}


def _rule(name: str, p: Any) -> Direct:
    """The rule of that name at kept fraction p, its moments per kept row."""
    if name not in RULE_NAMES:
        raise InputError(f"unknown rule '{name}': one of {', '.join(RULE_NAMES)}")
    return Direct(RULES[name].with_keep_fraction(np.minimum(p, RULES[name].largest_keep)))


def _check(rho: Real, flip: Real, lam: Real | None) -> None:
    require_numbers(rho=rho, flip=flip, lam=0 if lam is None else lam)
    require("rho", rho, np.abs(rho) <= 1, "lie in [-1, 1]: it is cos(w_s, w0)")
    require("flip", flip, (np.asarray(flip) >= 0) & (np.asarray(flip) < 0.5), "lie in [0, 1/2): it is a flip rate")
    if lam is not None:
        require("lam", lam, (np.asarray(lam) >= 0) & np.isfinite(lam),
                "be at least 0 and finite: 0 is the ridgeless limit")  # fmt: skip
        require_magnitude(lam=lam)
