"""How to spend a budget with a fixed selector: which strategy, rule, kept fraction and ridge (ours).

psi = d/m for m kept rows, and lam is per *training* row. The limit is reached only far above d = p/gamma; a finite
`d` takes the mean error there.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dp_base.errors import InputError
from dp_theory.numerics.checks import (
    MAX_VALUE,
    Real,
    common_shape,
    numbers,
    require,
    require_in,
    require_number,
    require_numbers,
    require_one_of,
    require_positive,
    require_some,
)
from dp_theory.numerics.costs import (
    DIRECT_COST,
    MIN_KEEP,
    STRATEGIES,
    TRAINING_COST,
    Costs,
    generated,
    require_costs,
    require_least_keep,
)
from dp_theory.ridge.finite_dimension import mean_error, require_room
from dp_theory.ridge.theorem1 import theorem1
from dp_theory.rules import RULES, Direct, rule_names

if TYPE_CHECKING:
    import pandas as pd

# Points of the first grid.
_PER_DECADE = 5
# Each further grid is so many times finer than the one before.
_FINER = 4
# Spacing of ln x at which the search ends.
_FINEST = 1e-4


def minimise(function: Callable[[Any], Any], low: float, high: float, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The least value of each function over [low, high], low > 0, and where it is.

    Grids are logarithmic, since functions may have several local minima, or the least at an end.
    """
    ends = np.log(low), np.log(high)
    points = 2 + round(_PER_DECADE * np.log10(high / low))
    spacing = np.log(high / low) / (points - 1)
    log_x = np.add.outer(np.linspace(*ends, points), np.zeros(shape))
    while True:
        values = np.broadcast_to(function(np.exp(log_x)), log_x.shape)
        best = np.argmin(values, axis=0)[None]
        centre = np.take_along_axis(log_x, best, axis=0)[0]
        if spacing < _FINEST:
            return values.min(axis=0), np.exp(centre)
        log_x = np.clip(np.add.outer(np.linspace(-spacing, spacing, 2 * _FINER + 1), centre), *ends)
        spacing /= _FINER


# The interval in which the best ridge is sought, besides lam = 0.
RIDGES = (1e-9, 1e4)


RULE_NAMES = rule_names("optimised")
# Cells of an array of parameters that are searched at a time, each on a grid of p and lam.
CELLS_AT_ONCE = 128


class LeastError(NamedTuple):
    """Least test errors, and where they are attained."""

    test_error: Any
    keep: Any  # kept fraction p
    lam_per_row: Any  # ridge per training row


def least_error(
    name: str,
    rho: Real,
    psi: Any,
    *,
    smallest_keep: float = MIN_KEEP,
    d: float = np.inf,
) -> LeastError:
    """The least error over p and the ridge, accurate to 1e-8 of what the theory says.

    psi may be a function of p. A finite d has the mean error of exactly d/psi training rows; fractions with p/gamma > d
    are left out there.
    """
    require_in("[-1, 1]", "it is cos(w_s, w0)", rho=rho)
    require_number(d=d)
    require_room(d)
    fits = np.isinf(d) or (d <= MAX_VALUE and d % 1 == 0)
    require("d", d, fits, f"be a whole number up to {MAX_VALUE:g}, or inf: it is the dimension")

    def psi_of(p: Any) -> Any:
        return psi(p) if callable(psi) else numbers("psi", psi)

    plain_psi = numbers("psi", psi_of(1.0))
    require_positive("it is d/m", psi=plain_psi)
    require("psi", plain_psi, plain_psi <= d, f"be at most d = {d:g}: there is less than one training row")
    rho = np.asarray(rho, float)
    shape = common_shape(psi=plain_psi, rho=rho)

    def at_best_ridge(p: Any) -> tuple[Any, Any]:
        rule = direct_rule(name, p)
        moments = rule.moments(rho)
        psi = psi_of(p)
        is_sound = d == np.inf or (moments.gamma * d >= 1) & (psi <= d)  # else d is too small for the theory
        fourth = None if d == np.inf else rule.up_to_fourth(rho)[2]

        def error(ridge: Any) -> Any:
            if fourth is None:
                return theorem1(*moments, rho, psi, ridge)[0]
            return np.where(is_sound, mean_error(moments, fourth, rho, psi, ridge, d / psi), 0.5)

        least, ridge = minimise(error, *RIDGES, np.shape(p))
        ridgeless = error(0.0)
        return np.minimum(least, ridgeless), np.where(ridgeless <= least, 0.0, ridge)

    _, p = minimise(lambda p: at_best_ridge(p)[0], smallest_keep, 1.0, shape)
    error, ridge = at_best_ridge(p)
    return LeastError(error[()], p[()], ridge[()])


def direct_rule(name: str, p: Any) -> Direct:
    """The direct rule that keeps a fraction p."""
    require_one_of("rule", name, RULE_NAMES)
    return Direct(RULES[name].with_keep_fraction(np.minimum(p, RULES[name].largest_keep)))


def optimum(
    rho: Real,
    *,
    psi: Real | None = None,
    budget: Real | None = None,
    direct_cost: float = DIRECT_COST,
    training_cost: float = TRAINING_COST,
    smallest_keep: float = MIN_KEEP,
    d: float = np.inf,
) -> "pd.DataFrame":
    """Every strategy with every rule at its best for a budget.

    Parameters
    ----------
    rho
        Cosine of the selector with the truth, in [-1, 1].
    psi, budget
        Exactly one is given: the number of training rows, as psi = d/m, or what may be spent per dimension, in plain
        samples; both are positive.
    direct_cost, training_cost
        Costs of a directly drawn sample and of training on a row, in plain samples, at least 0.
    smallest_keep
        The least kept fraction to consider, in [1e-12, 1).
    d
        With a finite dimension, 3 or more and at least psi, the mean test error is taken, of exactly d/psi training
        rows.

    Returns
    -------
    DataFrame
        A row for each strategy and rule, the best first. Columns are strategy, rule, keep, lam (per training row), psi
        and test_error; per dimension kept, generated and cost; and needs_d = p/gamma, which d must exceed by far for
        the limit d → ∞ to hold. Arrays of rho, psi and budget broadcast to a phase diagram: the rows of all cells, in C
        order, with further columns cell, rho and budget.
        `table.groupby("cell").first()` is what wins.

    Raises
    ------
    InputError
        For parameters outside their domain, and where a training row costs nothing.

    Examples
    --------
    >>> from dp_theory import optimum
    >>> optimum(0.9, psi=0.5).loc[0, ["strategy", "rule"]].tolist()
    ['direct', 'keep-hard']
    """
    import pandas as pd

    if (psi is None) == (budget is None):
        raise InputError("give exactly one of psi (= d/m, m training rows) and budget (cost per dimension)")
    require_costs(direct_cost=direct_cost, training_cost=training_cost)
    (smallest_keep,) = require_number(smallest_keep=smallest_keep)
    require_least_keep(smallest_keep=smallest_keep)
    costs = Costs(float(direct_cost), float(training_cost))
    given = {"rho": rho} | ({"psi": psi} if budget is None else {"budget": budget})
    require_numbers(**given)
    require_some(**given)
    if budget is not None:
        require_positive("it is the cost per dimension", budget=budget)
        if costs.row("direct") == 0:
            raise InputError("a training row costs nothing: no budget limits their number")
    shape = common_shape(**given)
    flat = {name: np.broadcast_to(np.asarray(value, float), shape).ravel() for name, value in given.items()}
    tables = []
    for start in range(0, prod(shape), CELLS_AT_ONCE):
        cells = np.arange(start, min(start + CELLS_AT_ONCE, prod(shape)))
        parameters = {name: values[cells] for name, values in flat.items()}
        for strategy in STRATEGIES:
            for name in RULE_NAMES[:1] if strategy == "static" else RULE_NAMES:
                best = _best(strategy, name, costs, parameters, smallest_keep, d)
                tables.append(pd.DataFrame({"cell": cells, **best}))
    table = pd.concat(tables).sort_values(["cell", "test_error", "cost"], kind="stable", ignore_index=True)
    return table if shape else table.drop(columns=["cell", "rho", "budget"], errors="ignore")


def _best(
    strategy: str, name: str, costs: Costs, parameters: dict[str, Any], smallest_keep: float, d: float
) -> dict[str, Any]:
    price = partial(costs.row, strategy)
    rho, psi, budget = (parameters.get(key) for key in ("rho", "psi", "budget"))
    psi_of_keep = (lambda p: price(p) / budget) if psi is None else psi
    least = 1.0 if strategy == "static" else smallest_keep
    error, p, lam = least_error(name, rho, psi_of_keep, smallest_keep=least, d=d)
    kept = budget / price(p) if psi is None else 1 / psi
    return {key: parameters[key] for key in ("rho", "budget") if key in parameters} | {
        "strategy": strategy,
        "rule": "keep-all" if strategy == "static" else name,
        "keep": p,
        "lam": lam,
        "psi": 1 / kept if psi is None else psi,
        "test_error": error,
        "kept": kept,
        "generated": generated(strategy, kept, p),
        "cost": kept * price(p),
        "needs_d": 1 / direct_rule(name, p).moments(rho).gamma,
    }
