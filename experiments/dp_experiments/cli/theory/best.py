"""`dp theory best`: which strategy with which rule, how hard, and at which ridge."""

import math
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import folder_option, grid, several, write_tables, written
from dp_experiments.terminal.lines import answer, records
from dp_theory.numerics.costs import MIN_KEEP, MIN_SEARCHED_KEEP, TRAINING_COST

MANY_DIMENSIONS = 1e3  # if the winner needs more than this for the limit of large d to hold, it is told
LARGE_GAP = 0.1  # gap over the error of a rule that may be far from the best


def best_command(
    rho: Annotated[str, several("Cosine of the fixed selector with the truth.")],
    psi: Annotated[str | None, several("d over the number of training rows.")] = None,
    budget: Annotated[
        str | None, several("In place of --psi: what may be spent, in plain samples per dimension.")
    ] = None,
    d: Annotated[float, Option(help="Dimension.")] = math.inf,
    smallest_keep: Annotated[float, Option(help="Least kept fraction to consider.")] = MIN_KEEP,
    out: Annotated[Path | None, folder_option("best.csv")] = None,
    as_json: Json = False,
) -> None:
    """Compares each strategy (static, prune, direct) with each named rule, at the best kept fraction and ridge.

    Give the number of training rows (--psi) or what they may cost (--budget). Beside them stands the best of all rules
    for pruning, whatever their shape, unless --d is given.

    VALUES: a value, a comma list, or start:stop:count with both ends, in equal steps (--psi and --budget: equal
    ratios). Several values give a phase diagram: the best for each combination is shown, and --out has all.
    """
    from dp_theory.budgets.optimum import optimum

    given, varied = grid({"rho": rho, "psi": psi, "budget": budget}, geometric=("psi", "budget"))
    with claimed(out):
        result = optimum(**given, d=d, smallest_keep=smallest_keep)
        write_tables(out, best=result)
        rows = records(result)
        winners = records(result.drop_duplicates("cell")) if varied else rows[:1]
        free = None
        if not varied and d == math.inf and abs(given["rho"]) < 1:
            free = _any_rule(given, smallest_keep)
    titled = {"what is best for each": winners} if varied else {"least test error, the best first": rows}
    remarks = []
    if free is not None:
        titled["the best of all rules for pruning, whatever their shape"] = [free]
        if not free["gap"] <= LARGE_GAP * free["test_error"]:  # a gap that is nan is told too
            remarks.append(f"the search found no better rule, but there may be one (gap = {free['gap']:.2g})")
    needed = max(row["needs_d"] for row in winners)
    if needed > MANY_DIMENSIONS and d == math.inf:
        remarks.append(f"the winner selects so hard that this needs d well above {needed:.0f}: give yours as --d")
    at_end = [row for row in winners if math.isclose(row["keep"], smallest_keep)]
    if at_end:
        cells: dict[str, Any] = {name: [row.get(name, value) for row in at_end] for name, value in given.items()}
        beyond = optimum(**cells, d=d, smallest_keep=MIN_SEARCHED_KEEP).groupby("cell")["test_error"].min()
        gain = max(1 - error / row["test_error"] for row, error in zip(at_end, beyond, strict=True))
        remarks.append(
            f"{'a' if varied else 'the'} winner keeps the least that was considered, {smallest_keep:g}: "
            f"a smaller --smallest-keep takes {gain:.1%} off its error at most"
        )
    facts = {"best": winners if varied else winners[0], "table": rows, "any_rule": free}
    answer(as_json, facts, titled, *remarks, *written(out))


def _any_rule(options: dict[str, Any], least: float) -> dict[str, Any]:
    """The free optimum of one budget; `gap` is how much less a rule nearby may reach."""
    from dp_theory.selection.best import Budget, best_selection

    if "psi" in options:
        budget = Budget(options["rho"], 1 / options["psi"], least=least)
    else:
        budget = Budget(options["rho"], options["budget"], 1.0, TRAINING_COST, least=least)
    best = best_selection(budget)
    return {
        "rule": str(best.rule),
        "keep": best.keep,
        "lam": best.lam_per_row,
        "psi": 1 / best.kept,
        "test_error": best.test_error,
        "kept": best.kept,
        "generated": best.generated,
        "cost": best.generated + best.kept * TRAINING_COST,
        "needs_d": best.needs_d,
        "gap": best.gap,
    }
