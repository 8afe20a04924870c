"""`dp theory best`: the best of all selection rules for a budget, or for every round of a practice loop."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_theory.costs import AXES, SMALLEST_KEEP, TRAINING_COST
from experiments.cli.theory.options import Json, TrainingCost
from experiments.terminal import emit_json, records, table


def best_command(
    rho: Annotated[float | None, typer.Option(help="cos(w_s, w0) of a fixed selector; not with --rounds.")] = None,
    budget: Annotated[float | None, typer.Option(help="What may be spent per dimension.")] = None,
    axis: Annotated[str, typer.Option(help=f"What the budget counts: {', '.join(AXES)}.")] = "compute",
    training_cost: TrainingCost = TRAINING_COST,
    lam: Annotated[
        float | None,
        typer.Option(help="Ridge per training row, else the best; 0: none. With --rounds: that of the loop, else 0."),
    ] = None,
    flip: Annotated[float, typer.Option(help="Probability that a label is flipped.")] = 0.0,
    smallest_keep: Annotated[float, typer.Option(help="Least kept fraction to consider.")] = SMALLEST_KEEP,
    rounds: Annotated[int | None, typer.Option(min=1, max=100, help="Of practice: its rules, round by round.")] = None,
    phi: Annotated[float, typer.Option(help="With --rounds: d over the rows of the first pool.")] = 0.25,
    increment: Annotated[float, typer.Option(help="With --rounds: rows kept per round, in first pools.")] = 1.0,
    candidates: Annotated[bool, typer.Option("--candidates", help="--increment counts rows looked at.")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="With --rounds: rules that see the labels too.")] = False,
    full: Annotated[bool, typer.Option("--full", help="All rounds for the last error, not each for its own.")] = False,
    out: Annotated[Path | None, typer.Option(help="New or empty folder for best.csv.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """The best of all rules, and how far keep-hard, keep-easy and the entropy rule at their best are from it."""
    from dp_base.files import write_text
    from dp_theory.selection import Budget, compare_selections

    if rounds is not None:
        if rho is not None or budget is not None:
            raise InputError(
                "--rounds takes neither --rho nor --budget: the learner itself selects, --increment rows a round"
            )
        found = _loop(rounds, phi, lam or 0.0, flip, {"candidates" if candidates else "kept": increment}, labels, full,
                      smallest_keep)  # fmt: skip
        title = "the best rule of each round, and the best window |t| < kappa·tan(πE)"
    else:
        if labels or full or candidates:
            raise InputError("--labels, --full and --candidates are for --rounds")
        if rho is None or budget is None:
            raise InputError(
                f"{'--rho' if rho is None else '--budget'} is missing: give --rho and --budget, or --rounds"
            )
        chosen = Budget.of(
            rho, budget, axis, training_cost=training_cost, lam=lam, flip=flip, smallest_keep=smallest_keep
        )
        found, title = records(compare_selections(chosen)), "least test error, the best first"
    if as_json:
        emit_json({"table": found})
    else:
        table(found, title=title)
    if out is not None:
        import pandas as pd

        with claimed(out):
            write_text(out / "best.csv", pd.DataFrame(found).to_csv(index=False))
        if not as_json:
            print(out / "best.csv")


def _loop(
    rounds: int, phi: float, lam: float, flip: float, size: dict[str, float], labels: bool, full: bool, least: float
) -> list[dict[str, Any]]:
    """A record per stage of the best sequence."""
    from dp_theory import PracticeProblem
    from dp_theory.selection import best_sequence, best_window

    problem = PracticeProblem(phi, lam, flip=flip)
    found = best_sequence(problem, rounds, labels=labels, full=full, least=least, **size)
    kappa, window = best_window(problem, rounds, **size)
    return [
        {"stage": stage, "rule": str(found.bands[stage - 1]) if stage else "-",
         "kept_per_d": float(found.kept[stage] / phi), "candidates_per_d": float(found.candidates[stage] / phi),
         "test_error": float(found.test_error[stage]), "window": kappa if stage else None,
         "window_error": float(window[stage])}
        for stage in range(rounds + 1)
    ]  # fmt: skip
