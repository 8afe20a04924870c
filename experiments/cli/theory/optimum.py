"""`dp theory optimum | best`: the best of the named rules, and of all rules, for a number of rows or a budget."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_theory.numerics.costs import AXES, DIRECT_COST, SMALLEST_KEEP, TRAINING_COST
from experiments.cli.theory.options import VALUES, Json, grid, those_given
from experiments.terminal import emit_json, records, say, table

LARGE_GAP = 0.1  # over the error, of a rule that may be far from the best
ROUNDING = 1e-3  # over the error, of a gap that counts as 0


def optimum_command(
    rho: Annotated[
        str | None, typer.Option(help=f"cos(w_s, w0) of a fixed selector, not with --loop: {VALUES}.")
    ] = None,
    psi: Annotated[
        str | None, typer.Option(help=f"d over training rows (--loop: over half of them): {VALUES}.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help=f"Instead of --psi: what may be spent per d: {VALUES}.")] = None,
    candidate_cost: Annotated[float | None, typer.Option(help="Cost of a plain sample.  Default: 1.")] = None,
    guided_cost: Annotated[
        float | None, typer.Option(help=f"Cost of a directly drawn sample; {DIRECT_COST:g} plain ones by default.")
    ] = None,
    training_cost: Annotated[
        float | None, typer.Option(help=f"Cost of training on a row.  Default: {TRAINING_COST:g}.")
    ] = None,
    keep: Annotated[str | None, typer.Option(help=f"Kept fraction p, else the best (--loop: 0.2): {VALUES}.")] = None,
    lam: Annotated[str | None, typer.Option(help=f"Ridge per training row, else the best; 0: none: {VALUES}.")] = None,
    flip: Annotated[str, typer.Option(help=f"Probability that a label is flipped: {VALUES}.")] = "0",
    d: Annotated[float | None, typer.Option(help="Dimension; infinite by default.")] = None,
    smallest_keep: Annotated[
        float | None, typer.Option(help=f"Least kept fraction to consider.  Default: {SMALLEST_KEEP:g}.")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="The learner selects the second half of its rows.")] = False,
    out: Annotated[Path | None, typer.Option(help="New or empty folder for optimum.csv.")] = None,
    as_json: Json = False,
) -> None:
    """The best rule, kept fraction, ridge and strategy for a number of training rows or for a budget.

    Of lists every combination: a phase diagram, of which the best of each is printed.
    """
    from dp_base.files import write_text
    from dp_theory.budgets.one_round import one_round
    from dp_theory.budgets.optimum import optimum

    texts = {"rho": rho, "psi": psi, "budget": budget, "keep": keep, "lam": lam, "flip": flip}
    given, varied = grid(texts, geometric=("psi", "budget", "lam"))
    own = those_given(
        candidate_cost=candidate_cost, guided_cost=guided_cost, training_cost=training_cost,
        smallest_keep=smallest_keep, d=d,
    )  # fmt: skip
    with claimed(out):
        if loop:
            if own:
                raise InputError(
                    f"--{next(iter(own)).replace('_', '-')} is not for --loop, which has no budget and no pool"
                )
            if psi is None or rho is not None or budget is not None:
                raise InputError("--loop takes --psi, and neither --rho nor --budget: the learner itself selects")
            if varied:
                raise InputError(f"--loop takes one value of --{varied[0]}")
            result = one_round(**given)
        else:
            if rho is None:
                raise InputError("--rho is missing: the selector's cosine to the truth (--loop: the learner selects)")
            if keep is not None and smallest_keep is not None:
                raise InputError("--smallest-keep bounds the search for the fraction that --keep gives: leave one out")
            result = optimum(**given, **own)
        if out is not None:
            write_text(out / "optimum.csv", result.to_csv(index=False))
    rows = records(result)
    best = records(result.drop_duplicates("cell")) if varied else rows[:1]
    if as_json:
        emit_json({"best": best if varied else best[0], "table": rows})
        return
    title = "what is best for each" if varied else "least test error, the best first"
    table(best if varied else rows, title=title)
    needed = 0.0 if loop else max(row["needs_d"] for row in best)
    if needed > 1e3 and d is None:
        say(f"the winner selects so hard that this needs d well above {needed:.0f}: give yours as --d")
    if out is not None:
        print(out / "optimum.csv")


def best_command(
    rho: Annotated[float | None, typer.Option(help="cos(w_s, w0) of a fixed selector; not with --rounds.")] = None,
    budget: Annotated[float | None, typer.Option(help="What may be spent per dimension.")] = None,
    axis: Annotated[
        str | None, typer.Option(help=f"What the budget counts: {', '.join(AXES)}.  Default: compute.")
    ] = None,
    training_cost: Annotated[
        float | None, typer.Option(help=f"Of a row, in plain samples, in the budget.  Default: {TRAINING_COST:g}.")
    ] = None,
    lam: Annotated[
        float | None,
        typer.Option(help="Ridge per training row, else the best; 0: none. With --rounds: that of the loop, else 0."),
    ] = None,
    flip: Annotated[float, typer.Option(help="Probability that a label is flipped.")] = 0.0,
    smallest_keep: Annotated[float, typer.Option(help="Least kept fraction to consider.")] = SMALLEST_KEEP,
    rounds: Annotated[int | None, typer.Option(min=1, max=100, help="Of practice: its rules, round by round.")] = None,
    phi: Annotated[
        float | None, typer.Option(help="With --rounds: d over the rows of the first pool.  Default: 0.25.")
    ] = None,
    increment: Annotated[
        float | None, typer.Option(help="With --rounds: rows kept per round, in first pools.  Default: 1.")
    ] = None,
    candidates: Annotated[bool, typer.Option("--candidates", help="--increment counts rows looked at.")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="With --rounds: rules that see the labels too.")] = False,
    full: Annotated[bool, typer.Option("--full", help="All rounds for the last error, not each for its own.")] = False,
    out: Annotated[Path | None, typer.Option(help="New or empty folder for best.csv.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """The best of all rules, and how far keep-hard, keep-easy and the entropy rule at their best are from it."""
    import pandas as pd

    from dp_base.files import write_text
    from dp_theory.selection import Budget, compare_selections

    own = those_given(axis=axis, training_cost=training_cost)
    with claimed(out):
        if rounds is not None:
            if own or rho is not None or budget is not None:
                raise InputError(
                    "--rounds takes none of --rho, --budget, --axis and --training-cost: the learner itself selects, "
                    "--increment rows a round"
                )
            size = {"candidates" if candidates else "kept": 1.0 if increment is None else increment}
            found = _loop(rounds, 0.25 if phi is None else phi, lam or 0.0, flip, size, labels, full, smallest_keep)
            title = "the best rule of each round, and the best window |t| < kappa·tan(πE)"
        else:
            if labels or full or candidates or phi is not None or increment is not None:
                raise InputError("--labels, --full, --candidates, --phi and --increment are for --rounds")
            if rho is None or budget is None:
                raise InputError(
                    f"{'--rho' if rho is None else '--budget'} is missing: give --rho and --budget, or --rounds"
                )
            chosen = Budget.of(rho, budget, **own, lam=lam, flip=flip, smallest_keep=smallest_keep)
            found, title = records(compare_selections(chosen)), "least test error, the best first"
        if out is not None:
            write_text(out / "best.csv", pd.DataFrame(found).to_csv(index=False))
    if as_json:
        emit_json({"table": found})
    else:
        table(found, title=title)
    if out is not None and not as_json:
        print(out / "best.csv")


def _loop(
    rounds: int, phi: float, lam: float, flip: float, size: dict[str, float], labels: bool, full: bool, least: float
) -> list[dict[str, Any]]:
    """A record per stage of the best sequence; on stderr, where the search for it ended at a limit of its own."""
    import numpy as np

    from dp_theory import KeepHard, PracticeProblem
    from dp_theory.selection import best_sequence, best_window

    problem = PracticeProblem(phi, lam, flip=flip)
    found = best_sequence(problem, rounds, labels=labels, full=full, least=least, **size)
    kappa, window = best_window(problem, rounds, least=least, **size)
    gaps: list[float | None] = [None]
    for stage, (gap, error) in enumerate(zip(found.gap, found.test_error[1:], strict=True), start=1):
        gaps.append(0.0 if abs(gap) < ROUNDING * error else float(gap))
        if not full and not gap <= LARGE_GAP * error:
            say(f"round {stage}: the search found no better rule, but there may be one (gap = {gap:.2g})")
    if np.isinf(kappa):
        say("the best window keeps all rows in every round: kappa = inf")
    elif kappa * np.tan(np.pi * window[0]) <= KeepHard.with_keep_fraction(least).alpha:
        say("the best window is as narrow as --smallest-keep allows in every round")
    return [
        {"stage": stage, "rule": str(found.bands[stage - 1]) if stage else "-",
         "kept_per_d": float(found.kept[stage] / phi), "candidates_per_d": float(found.candidates[stage] / phi),
         "test_error": float(found.test_error[stage]), "gap": gaps[stage],
         "window": kappa if stage else None, "window_error": float(window[stage])}
        for stage in range(rounds + 1)
    ]  # fmt: skip
