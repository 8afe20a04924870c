"""`dp theory best rule | any-rule | one-round | sequence`: which selection rule is best, for four questions."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import (
    MOST_MINUTES,
    VALUES,
    BestFolder,
    Flip,
    MostMinutes,
    allow_work,
    grid,
    ridge,
    several,
    those_given,
)
from dp_experiments.terminal import emit_json, records, say, table
from dp_theory.numerics.costs import AXES, DIRECT_COST, SMALLEST_KEEP, TRAINING_COST

if TYPE_CHECKING:
    import pandas as pd

    from dp_theory.practice import PracticeProblem
    from dp_theory.selection.sequence import BestSequence

Rho = Annotated[float, typer.Option(help="Cosine of the fixed selector with the truth.")]
SmallestKeep = Annotated[float, typer.Option(help="Least kept fraction to consider.")]

TABLE = "best.csv"
MANY_DIMENSIONS = 1e3  # if the winner needs more than this for the limit of large d to hold, it is told
ROUND_SECONDS = (
    3.0  # to find the best rule of a round, measured; more where phi is below NARROW, whose bands are narrow
)
NARROW = 1e-3
MANY_ROUNDS = 4  # of which a search takes more than a few seconds
LARGE_GAP = 0.1  # gap over the error of a rule that may be far from the best
ROUNDING = 1e-3  # gap over the error that counts as 0


def rule_command(
    rho: Annotated[str, several("Cosine of the fixed selector with the truth.")],
    psi: Annotated[str | None, several("d over the number of training rows.")] = None,
    budget: Annotated[str | None, several("In place of --psi: what may be spent, per dimension.")] = None,
    candidate_cost: Annotated[float, typer.Option(help="Cost of a plain sample.")] = 1.0,
    direct_cost: Annotated[
        float | None,
        typer.Option(help=f"Cost of a directly drawn sample.  Default: that of {DIRECT_COST:g} plain ones."),
    ] = None,
    training_cost: Annotated[float, typer.Option(help="Cost of training on a row.")] = TRAINING_COST,
    keep: Annotated[str | None, several("Kept fraction p.  Default: the best.")] = None,
    lam: Annotated[str | None, ridge("the training rows", "  Default: the best.", VALUES)] = None,
    flip: Annotated[str, several("Probability that a label is flipped.")] = "0",
    d: Annotated[float, typer.Option(help="Dimension.")] = math.inf,
    smallest_keep: Annotated[
        float | None,
        typer.Option(help=f"Least kept fraction to consider, unless --keep sets it.  Default: {SMALLEST_KEEP:g}."),
    ] = None,
    out: BestFolder = None,
    as_json: Json = False,
) -> None:
    """Compares each strategy (static, prune, direct) with each named rule, at the best kept fraction and ridge.

    Give the number of training rows (--psi) or what they may cost (--budget).

    VALUES: a value, a comma list, or start:stop:count with both ends, in equal steps (--psi, --budget and --lam: equal
    ratios). Several values give a phase diagram: the best for each combination is shown, and --out has all.
    """
    from dp_theory.budgets.optimum import optimum

    if keep is not None and smallest_keep is not None:
        raise InputError("--smallest-keep bounds the search for the fraction that --keep gives: leave one out")
    texts = {"rho": rho, "psi": psi, "budget": budget, "keep": keep, "lam": lam, "flip": flip}
    given, varied = grid(texts, geometric=("psi", "budget", "lam"))
    with claimed(out):
        result = optimum(
            **given,
            candidate_cost=candidate_cost,
            direct_cost=direct_cost,
            training_cost=training_cost,
            d=d,
            **those_given(smallest_keep=smallest_keep),
        )
        _write(result, out)
    rows = records(result)
    winners = records(result.drop_duplicates("cell")) if varied else rows[:1]
    if as_json:
        emit_json({"best": winners if varied else winners[0], "table": rows})
        return
    if varied:
        table(winners, title="what is best for each")
    else:
        table(rows, title="least test error, the best first")
    needed = max(row["needs_d"] for row in winners)
    if needed > MANY_DIMENSIONS and d == math.inf:
        say(f"the winner selects so hard that this needs d well above {needed:.0f}: give yours as --d")
    _name_table(out)


def any_rule_command(
    rho: Rho,
    budget: Annotated[float, typer.Option(help="What may be spent, per dimension.")],
    axis: Annotated[str, typer.Option(help=f"What the budget counts: {', '.join(AXES)}.")] = "compute",
    training_cost: Annotated[
        float | None,
        typer.Option(
            help=f"With --axis compute: cost of training on a row; a plain sample costs 1.  Default: {TRAINING_COST:g}."
        ),
    ] = None,
    lam: Annotated[float | None, ridge("the training rows", "  Default: the best.")] = None,
    flip: Flip = 0.0,
    smallest_keep: SmallestKeep = SMALLEST_KEEP,
    out: BestFolder = None,
    as_json: Json = False,
) -> None:
    """Finds the best of all rules, whatever their shape, and one that sees the labels too.

    Shows how far keep-hard, keep-easy and the entropy rule at their best are from it.
    """
    from dp_theory.selection import Budget, compare_selections

    with claimed(out):
        spent = Budget.of(
            rho, budget, axis, training_cost=training_cost, lam=lam, flip=flip, smallest_keep=smallest_keep
        )
        result = compare_selections(spent)
        _write(result, out)
    for name, error, gap in zip(result["name"], result["test_error"], result["gap"], strict=True):
        if name.startswith("best") and not gap <= LARGE_GAP * error:  # a gap that is nan is told too
            say(f"{name}: the search found no better rule, but there may be one (gap = {gap:.2g})")
    _show(records(result), "least test error, the best first", out, as_json)


def one_round_command(
    psi: Annotated[float, typer.Option(help="d over half of the training rows.")],
    keep: Annotated[float, typer.Option(help="Kept fraction p of the second half.")] = 0.2,
    lam: Annotated[float | None, ridge("the rows of the first half", "  Default: the best.")] = None,
    flip: Flip = 0.0,
    out: BestFolder = None,
    as_json: Json = False,
) -> None:
    """A learner trains on N plain rows, then selects N more itself, and trains on all of them.

    Compares the named rules for the second half at the same kept fraction, and plain rows.
    """
    from dp_theory.budgets.one_round import one_round

    with claimed(out):
        result = one_round(psi, keep=keep, lam=lam, flip=flip)
        _write(result, out)
    rows = records(result)
    if as_json:
        emit_json({"best": rows[0], "table": rows})
        return
    table(rows, title="least test error, the best first")
    _name_table(out)


def sequence_command(
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds of practice.")] = 3,
    phi: Annotated[float, typer.Option(help="d over the rows of the first pool.")] = 0.25,
    increment: Annotated[float, typer.Option(help="Rows kept in each round, in first pools.")] = 1.0,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="--increment counts the rows that are looked at, not those kept.")
    ] = False,
    lam: Annotated[float, ridge("the rows of the first pool")] = 0.0,
    flip: Flip = 0.0,
    labels: Annotated[bool, typer.Option("--labels", help="Consider rules that see the labels too.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Choose all rules for the last error, not each for its own round.")
    ] = False,
    smallest_keep: SmallestKeep = SMALLEST_KEEP,
    out: BestFolder = None,
    most_minutes: MostMinutes = MOST_MINUTES,
    as_json: Json = False,
) -> None:
    """Finds the best rule of each round of practice among all rules, whatever their shape.

    Shows it beside the best window |t| < kappa·tan(πE), in which E is the learner's test error.
    """
    import numpy as np
    import pandas as pd

    from dp_theory import KeepHard, PracticeProblem
    from dp_theory.selection import best_sequence, best_window

    problem = PracticeProblem(phi, lam, flip=flip)
    size = {"candidates" if candidates else "kept": increment}
    with claimed(out):
        if rounds > MANY_ROUNDS:
            say(f"{rounds} rounds: about a second for each of the first, and more for each that follows")
        narrow = max(1.0, NARROW / phi) ** 0.25 if phi > 0 else 1.0  # an impossible phi is refused below
        allow_work(ROUND_SECONDS * rounds * narrow, most_minutes, "give a larger --phi or fewer --rounds")
        best = best_sequence(problem, rounds, labels=labels, full=full, least=smallest_keep, **size)
        kappa, window = best_window(problem, rounds, least=smallest_keep, **size)
        if not full:
            _tell_gaps(best)
        _tell_a_better_window(float(best.test_error[-1]), float(window[-1]), full)
        if np.isinf(kappa):
            say("the best window keeps all rows in every round: kappa = inf")
        elif kappa * np.tan(np.pi * window[0]) <= KeepHard.with_keep_fraction(smallest_keep).alpha:
            say("the best window is as narrow as --smallest-keep allows in every round")
        rows = _stages(problem, best, kappa, window)
        _write(pd.DataFrame(rows), out)
    _show(rows, "the best rule of each round, and the best window |t| < kappa·tan(πE)", out, as_json)


def _tell_gaps(best: "BestSequence") -> None:
    """Say of which rounds the search may have missed a much better rule."""
    for stage, (gap, error) in enumerate(zip(best.gap, best.test_error[1:], strict=True), start=1):
        if not gap <= LARGE_GAP * error:  # a gap that is nan is told too
            say(f"round {stage}: the search found no better rule, but there may be one (gap = {gap:.2g})")


def _tell_a_better_window(error: float, window_error: float, full: bool) -> None:
    """Say where the constant window, which is among the rules that were searched, ends below them."""
    if window_error < (1 - ROUNDING) * error:
        reason = (
            "the search stopped at a local optimum"
            if full
            else "the best rule of each round by itself need not be the best for the last; --full chooses all together"
        )
        say(f"the best window ends at {window_error:.4g}, below {error:.4g}: {reason}")


def _stages(problem: "PracticeProblem", best: "BestSequence", kappa: float, window: Any) -> list[dict[str, Any]]:
    """A record per stage: the best rule, and the error with it and with the best window; stage 0 is the first pool."""
    stages = []
    for stage, error in enumerate(best.test_error):
        rule = "-"
        gap = None
        threshold = None
        if stage:
            rule = str(best.bands[stage - 1])
            gap = float(best.gap[stage - 1])
            gap = 0.0 if abs(gap) < ROUNDING * error else gap
            threshold = kappa
        stages.append(
            {
                "stage": stage,
                "rule": rule,
                "kept_per_d": float(best.kept[stage] / problem.phi),
                "candidates_per_d": float(best.candidates[stage] / problem.phi),
                "test_error": float(error),
                "gap": gap,
                "window": threshold,
                "window_error": float(window[stage]),
            }
        )
    return stages


def _write(result: "pd.DataFrame", out: Path | None) -> None:
    """Write the table into --out, if it was given."""
    from dp_base.files import write_text

    if out is not None:
        write_text(out / TABLE, result.to_csv(index=False))


def _show(rows: list[dict[str, Any]], title: str, out: Path | None, as_json: bool) -> None:
    if as_json:
        emit_json({"table": rows})
        return
    table(rows, title=title)
    _name_table(out)


def _name_table(out: Path | None) -> None:
    """Print the path of the table that was written, if one was."""
    if out is not None:
        print(out / TABLE)
