"""`dp theory optimum`: the best selection for a number of training rows or for a budget."""

from pathlib import Path
from typing import Annotated

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_theory.costs import DIRECT_COST, SMALLEST_KEEP, TRAINING_COST
from experiments.cli.theory.options import Json
from experiments.terminal import emit_json, records, say, table


def optimum_command(
    rho: Annotated[float | None, typer.Option(help="cos(w_s, w0) of a fixed selector; leave out with --loop.")] = None,
    psi: Annotated[float | None, typer.Option(help="d over training rows (with --loop: over half of them).")] = None,
    budget: Annotated[float | None, typer.Option(help="Instead of --psi: what may be spent per dimension.")] = None,
    candidate_cost: Annotated[float, typer.Option(help="Cost of a plain sample.")] = 1.0,
    guided_cost: Annotated[
        float | None, typer.Option(help=f"Cost of a directly drawn sample; {DIRECT_COST:g} plain ones by default.")
    ] = None,
    training_cost: Annotated[float, typer.Option(help="Cost of training on a row.")] = TRAINING_COST,
    keep: Annotated[float | None, typer.Option(help="Kept fraction p; the best by default (--loop: 0.2).")] = None,
    lam: Annotated[float | None, typer.Option(help="Ridge per training row; the best by default, 0: none.")] = None,
    flip: Annotated[float, typer.Option(help="Probability that a label is flipped.")] = 0.0,
    d: Annotated[float, typer.Option(help="Dimension; infinite by default.")] = float("inf"),
    smallest_keep: Annotated[float, typer.Option(help="Least kept fraction to consider.")] = SMALLEST_KEEP,
    loop: Annotated[bool, typer.Option("--loop", help="The learner selects the second half of its rows.")] = False,
    out: Annotated[Path | None, typer.Option(help="New or empty folder for optimum.csv.")] = None,
    as_json: Json = False,
) -> None:
    """The best rule, kept fraction, ridge and strategy for a number of training rows or for a budget."""
    from dp_base.files import write_text
    from dp_theory import optimum as search

    if loop:
        if psi is None or rho is not None or budget is not None:
            raise InputError("--loop takes --psi, and neither --rho nor --budget: the learner itself selects")
        result = search.loop(psi, keep=0.2 if keep is None else keep, lam=lam, flip=flip)
    else:
        if rho is None:
            raise InputError("--rho is missing: the selector's cosine to the truth (--loop: the learner selects)")
        result = search.optimum(
            rho, psi=psi, budget=budget, candidate_cost=candidate_cost, guided_cost=guided_cost,
            training_cost=training_cost, keep=keep, lam=lam, flip=flip, smallest_keep=smallest_keep, d=d,
        )  # fmt: skip
    if out is not None:
        with claimed(out):
            write_text(out / "optimum.csv", result.to_csv(index=False))
    rows = records(result)
    if as_json:
        emit_json({"best": rows[0], "table": rows})
        return
    table(rows, title="least test error, the best first")
    if not loop and rows[0]["needs_d"] > 1e3 and d == float("inf"):
        say(f"the winner selects so hard that this needs d well above {rows[0]['needs_d']:.0f}: give yours as --d")
    if out is not None:
        print(out / "optimum.csv")
