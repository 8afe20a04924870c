"""How to spend a budget with a fixed selector: which strategy, rule, kept fraction and ridge (ours)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dp_base.errors import InputError
from dp_theory.budgets.least_error import CELLS_AT_ONCE, RULE_NAMES, blocks, direct_rule, least_error
from dp_theory.numerics.checks import Real, common_shape, require, require_numbers, require_some
from dp_theory.numerics.costs import SMALLEST_KEEP, STRATEGIES, TRAINING_COST, Costs, generated, require_costs

if TYPE_CHECKING:
    import pandas as pd


def optimum(
    rho: Real,
    *,
    psi: Real | None = None,
    budget: Real | None = None,
    candidate_cost: float = 1.0,
    direct_cost: float | None = None,
    training_cost: float = TRAINING_COST,
    keep: Real | None = None,
    lam: Real | None = None,
    flip: Real = 0.0,
    smallest_keep: float = SMALLEST_KEEP,
    d: float = np.inf,
) -> pd.DataFrame:
    """Every strategy with every rule at its best for a budget.

    Parameters
    ----------
    rho
        Cosine between selector and truth.
    psi, budget
        Exactly one is given: the number of training rows, as psi = d/m, or what may be spent per dimension.
    candidate_cost, direct_cost, training_cost
        Costs of a plain sample, of a directly drawn one and of training on a row. By default a directly drawn sample
        costs DIRECT_COST plain ones, as the paper measures.
    keep, lam
        Kept fraction and ridge per training row, instead of the best ones.
    flip
        Probability that a label is flipped.
    smallest_keep
        The smallest kept fraction that is considered.
    d
        The dimension. A finite one takes the mean test error there.

    Returns
    -------
    DataFrame
        A row for each strategy and rule, the best first. Columns are strategy, rule, keep, lam, psi and test_error; per
        dimension kept, generated and cost; and needs_d = p/gamma, which d must exceed by far for the limit d → ∞ to
        hold. Arrays of rho, psi, budget, keep, lam and flip broadcast to a phase diagram: the rows of all cells, in C
        order, with further columns cell, rho, flip and budget. `table.groupby("cell").first()` is what wins.

    Raises
    ------
    InputError
        For parameters outside their domain.

    Examples
    --------
    >>> from dp_theory import optimum
    >>> optimum(0.9, psi=0.5).loc[0, ["strategy", "rule"]].tolist()
    ['direct', 'keep-hard']
    """
    import pandas as pd

    if (psi is None) == (budget is None):
        raise InputError("give exactly one of psi (= d/m, m training rows) and budget (cost per dimension)")
    prices = {"candidate": candidate_cost, "direct": direct_cost, "training": training_cost}
    require_costs(**{name: price for name, price in prices.items() if price is not None})
    costs = Costs(candidate_cost, direct_cost, training_cost)
    if budget is not None:
        _require_budget(budget, costs)
    options = {"psi": psi, "budget": budget, "keep": keep, "lam": lam}
    given = {"rho": rho, "flip": flip} | {name: value for name, value in options.items() if value is not None}
    require_numbers(**given)
    require_some(**given)
    shape = common_shape(**given)
    tables = []
    for cells, parameters in blocks(given, shape, CELLS_AT_ONCE):
        for strategy in STRATEGIES:
            names = ("keep-hard",) if strategy == "static" else RULE_NAMES
            for name in names:
                best = _best(strategy, name, costs, parameters, smallest_keep, d)
                tables.append(pd.DataFrame({"cell": cells, **best}))
    table = pd.concat(tables).sort_values(["cell", "test_error", "cost"], kind="stable", ignore_index=True)
    if shape:
        return table
    return table.drop(columns=["cell", "rho", "flip", "budget"], errors="ignore")


def _require_budget(budget: Real, costs: Costs) -> None:
    require_numbers(budget=budget)
    is_positive = (np.asarray(budget) > 0) & np.isfinite(budget)
    require("budget", budget, is_positive, "be positive: it is the cost per dimension")
    if min(costs.row("static"), costs.row("direct")) == 0:
        raise InputError("a training row costs nothing: no budget limits their number")


def _best(
    strategy: str, name: str, costs: Costs, parameters: dict[str, Any], smallest_keep: float, d: float
) -> dict[str, Any]:
    searched = {key: value for key, value in parameters.items() if key not in ("psi", "budget")}
    if strategy == "static":
        searched["keep"] = 1.0
    price = partial(costs.row, strategy)
    budget = parameters.get("budget")
    psi = parameters["psi"] if budget is None else lambda p: price(p) / budget
    least = least_error(name, psi=psi, smallest_keep=smallest_keep, d=d, **searched)
    p = least.keep
    kept = 1 / parameters["psi"] if budget is None else budget / price(p)
    columns = {"rho": parameters["rho"], "flip": parameters["flip"]}
    if budget is not None:
        columns["budget"] = budget
    return columns | {
        "strategy": strategy,
        "rule": "keep-all" if strategy == "static" else name,
        "keep": p,
        "lam": least.lam,
        "psi": parameters["psi"] if budget is None else 1 / kept,
        "test_error": least.test_error,
        "kept": kept,
        "generated": generated(strategy, kept, p),
        "cost": kept * price(p),
        "needs_d": 1 / direct_rule(name, p).moments(parameters["rho"]).gamma,
    }
