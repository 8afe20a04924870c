"""`dp theory optimum`: the best selection for a number of training rows or for a budget."""

from pathlib import Path
from typing import Annotated

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_theory.costs import DIRECT_COST, SMALLEST_KEEP, TRAINING_COST
from experiments.cli.theory.options import VALUES, Json, grid
from experiments.terminal import emit_json, records, say, table


def optimum_command(
    rho: Annotated[
        str | None, typer.Option(help=f"cos(w_s, w0) of a fixed selector, not with --loop: {VALUES}.")
    ] = None,
    psi: Annotated[
        str | None, typer.Option(help=f"d over training rows (--loop: over half of them): {VALUES}.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help=f"Instead of --psi: what may be spent per d: {VALUES}.")] = None,
    candidate_cost: Annotated[float, typer.Option(help="Cost of a plain sample.")] = 1.0,
    guided_cost: Annotated[
        float | None, typer.Option(help=f"Cost of a directly drawn sample; {DIRECT_COST:g} plain ones by default.")
    ] = None,
    training_cost: Annotated[float, typer.Option(help="Cost of training on a row.")] = TRAINING_COST,
    keep: Annotated[str | None, typer.Option(help=f"Kept fraction p, else the best (--loop: 0.2): {VALUES}.")] = None,
    lam: Annotated[str | None, typer.Option(help=f"Ridge per training row, else the best; 0: none: {VALUES}.")] = None,
    flip: Annotated[str, typer.Option(help=f"Probability that a label is flipped: {VALUES}.")] = "0",
    d: Annotated[float, typer.Option(help="Dimension; infinite by default.")] = float("inf"),
    smallest_keep: Annotated[float, typer.Option(help="Least kept fraction to consider.")] = SMALLEST_KEEP,
    loop: Annotated[bool, typer.Option("--loop", help="The learner selects the second half of its rows.")] = False,
    out: Annotated[Path | None, typer.Option(help="New or empty folder for optimum.csv.")] = None,
    as_json: Json = False,
) -> None:
    """The best rule, kept fraction, ridge and strategy for a number of training rows or for a budget.

    Of lists every combination: a phase diagram, of which the best of each is printed.
    """
    from dp_base.files import write_text
    from dp_theory import optimum as search

    texts = {"rho": rho, "psi": psi, "budget": budget, "keep": keep, "lam": lam, "flip": flip}
    given, varied = grid(texts, geometric=("psi", "budget", "lam"))
    if loop:
        if psi is None or rho is not None or budget is not None:
            raise InputError("--loop takes --psi, and neither --rho nor --budget: the learner itself selects")
        if varied:
            raise InputError(f"--loop takes one value of --{varied[0]}")
        result = search.loop(**given)
    else:
        if rho is None:
            raise InputError("--rho is missing: the selector's cosine to the truth (--loop: the learner selects)")
        costs = {"candidate_cost": candidate_cost, "guided_cost": guided_cost, "training_cost": training_cost}
        result = search.optimum(**given, **costs, smallest_keep=smallest_keep, d=d)
    if out is not None:
        with claimed(out):
            write_text(out / "optimum.csv", result.to_csv(index=False))
    rows = records(result)
    best = records(result.drop_duplicates("cell")) if varied else rows[:1]
    if as_json:
        emit_json({"best": best if varied else best[0], "table": rows})
        return
    title = "what is best for each" if varied else "least test error, the best first"
    table(best if varied else rows, title=title)
    needed = 0.0 if loop else max(row["needs_d"] for row in best)
    if needed > 1e3 and d == float("inf"):
        say(f"the winner selects so hard that this needs d well above {needed:.0f}: give yours as --d")
    if out is not None:
        print(out / "optimum.csv")
