"""`dp theory practice`: the practice loop as theory, beside its simulation and the other ways to choose rows."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_theory import rules
from dp_theory.numerics.costs import DIRECT_COST, TRAINING_COST, require_costs
from dp_theory.ridge.simulators.trials import check_size
from dp_theory.span.losses import LOSSES
from experiments.cli.theory.options import DirectCost, Json, Seed, TrainingCost, Workers
from experiments.terminal import emit_json, progress, records, say, table

if TYPE_CHECKING:
    import pandas as pd

    from dp_theory.practice import PracticePrediction, PracticeSimulation, RoundPlan

RULES = (*(name for name, kind in rules.RULES.items() if kind.parameter in ("alpha", None)), "self-verify")
SCALING_ROUNDS = 4  # fewer fix no exponent


def practice_command(
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds of additions.")] = 8,
    rule: Annotated[str, typer.Option(help=f"How the learner chooses rows: {', '.join(RULES)}.")] = "keep-hard",
    alpha: Annotated[float | None, typer.Option(help="Constant threshold, in units of std(x·w_hat).")] = None,
    window: Annotated[float | None, typer.Option(help="Threshold window·tan(pi E), E the test error.")] = None,
    weight_power: Annotated[float, typer.Option(help="With --window: rows weigh threshold^-power.")] = 0.0,
    phi: Annotated[float, typer.Option(help="d/n; n is the unit of --initial and --increment.")] = 0.25,
    lam: Annotated[float, typer.Option(help="Ridge, times n. 0: the ridgeless limit.")] = 0.0,
    initial: Annotated[float, typer.Option(help="Plain rows of the first pool, over n.")] = 1.0,
    increment: Annotated[float, typer.Option(help="Rows kept in each round, over n.")] = 1.0,
    candidates: Annotated[bool, typer.Option("--candidates", help="--increment counts candidates.")] = False,
    accumulate: Annotated[bool, typer.Option("--accumulate/--fresh", help="Train on all rows, or the newest.")] = True,
    flip: Annotated[float, typer.Option(help="Probability that a label is flipped.")] = 0.0,
    loss: Annotated[str, typer.Option(help=f"What the learner minimises: {', '.join(LOSSES)}.")] = "square",
    d: Annotated[int, typer.Option(help="Dimension of the simulation.")] = 300,
    trials: Annotated[int, typer.Option(min=0, help="Simulated runs; 0: theory alone.")] = 0,
    direct_cost: DirectCost = DIRECT_COST,
    training_cost: TrainingCost = TRAINING_COST,
    out: Annotated[Path | None, typer.Option(help="New or empty folder for tables and pictures.")] = None,
    seed: Seed = 0,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Exact error of a learner that chooses its own rows, round by round; scaling exponents; the paper's Fig. 6."""
    from dataclasses import replace

    from dp_theory import predict, simulate
    from dp_theory.practice import PracticeProblem
    from dp_theory.practice.exponents import STEPS, scaling

    if loss not in LOSSES:
        raise InputError(f"unknown --loss '{loss}': one of {', '.join(LOSSES)}")
    square = loss == "square"  # whose answers are linear: exponents and hindsight are known of it alone
    require_costs(direct=direct_cost, training=training_cost)
    check_size(d, max(trials, 1))
    plan = _plan(rule, alpha, window, weight_power, increment, candidates)
    loop = PracticeProblem(phi, lam, (plan,) * rounds, initial=initial, accumulate=accumulate, flip=flip,
                           loss=LOSSES[loss])  # fmt: skip
    with claimed(out):
        prediction = predict(loop)
        simulation = simulate(loop, d, trials, seed=seed, workers=workers) if trials else None
        stages = _stages(prediction, simulation)
        rows = _row_errors(prediction, simulation) if square and rule != "self-verify" else None  # which adds none
        compared = None
        if square and rounds >= SCALING_ROUNDS:
            with progress("strategies", STEPS) as advance:
                compared = scaling(
                    replace(loop, accumulate=True), d=d, trials=trials, direct_cost=direct_cost,
                    training_cost=training_cost, seed=seed, workers=workers, advance=advance,
                )  # fmt: skip
        exponents = records(compared.exponents) if compared else []
        if out is not None:
            _write(out, rows, compared.curves if compared else None, stages=stages, exponents=exponents)
    if as_json:
        emit_json({"stages": stages, "exponents": exponents, "row_errors": [] if rows is None else records(rows)})
        return
    table(stages, title="rounds of practice")
    if rows is not None:
        print()
        table(_by_round(rows), title="error on the rows that were wrong when added, by stage (Fig. 6)")
    if compared:
        print()
        table(exponents, title="exponents: slope of ln(error) on ln(samples), second half of the stages")
    elif not square:
        say("no exponents, and no errors on the rows that were added: they are known for the square loss")
    else:
        say(f"fewer than {SCALING_ROUNDS} rounds: no exponents")
    if out is not None:
        print(*sorted(out.iterdir()), sep="\n")


def _plan(
    rule: str, alpha: float | None, window: float | None, power: float, increment: float, candidates: bool
) -> "RoundPlan":
    from dp_theory.practice import Addition, Window
    from dp_theory.span import Agree

    if rule not in RULES:
        raise InputError(f"unknown --rule '{rule}': one of {', '.join(RULES)}")
    size: dict[str, Any] = {"candidates" if candidates else "kept": increment}
    if rule == "self-verify" or rules.RULES[rule].parameter is None:
        if alpha is not None or window is not None:
            raise InputError(f"--rule {rule} takes neither --alpha nor --window: it has no threshold")
        if power:
            raise InputError(f"--weight-power is for --window: leave it out, as --rule {rule} has no threshold")
        return Addition(**size, keep=Agree() if rule == "self-verify" else rules.make_rule(rule))
    if alpha is not None and window is not None:
        raise InputError("--alpha and --window are two ways to set the threshold: give one")
    if alpha is not None and power:
        raise InputError("--weight-power is for --window, whose threshold falls: leave it out with --alpha")
    if alpha is not None:
        return Addition(**size, keep=rules.make_rule(rule, alpha=alpha))
    if rule != "keep-hard":
        raise InputError(f"--rule {rule} needs --alpha: --window is the margin that keep-hard keeps")
    if candidates:
        raise InputError("--window needs --increment in kept rows: leave out --candidates")
    return Window(1.0 if window is None else window, increment, power)


def _stages(prediction: "PracticePrediction", simulation: "PracticeSimulation | None") -> list[dict[str, Any]]:
    """A record per stage: what was added, and the error predicted and simulated."""
    phi = prediction.problem.phi
    stages = []
    for stage, error in enumerate(prediction.test_error):
        keep = getattr(prediction.additions[stage - 1], "keep", None) if stage else None
        record = {
            "stage": stage,
            "threshold": getattr(keep, "alpha", None),
            "kept_per_d": prediction.kept[stage] / phi,
            "candidates_per_d": prediction.candidates[stage] / phi,
            "test_error": error,
        }
        if simulation is not None:
            mean, se = simulation.test_error[stage], simulation.test_error_se[stage]
            record |= {"simulated": mean, "se": se, "z": (mean - error) / se if 0 < se < math.inf else None}
        stages.append(record)
    return [{key: value.item() if hasattr(value, "item") else value for key, value in r.items()} for r in stages]


def _row_errors(prediction: "PracticePrediction", simulation: "PracticeSimulation | None") -> "pd.DataFrame":
    """Tidy: series (round), kind, x (stage), y (error on the rows wrong when added), y_low, y_high, n_seeds."""
    import numpy as np
    import pandas as pd

    from dp_theory.practice import row_errors

    rows = []
    for addition in range(len(prediction.additions)):
        try:
            predicted = row_errors(prediction, addition)
        except InputError as error:
            say(str(error))
            predicted = np.full(len(prediction.test_error), np.nan)
        kinds = [("predicted", predicted, np.zeros(len(predicted)), 0)]
        if simulation is not None:
            runs = np.ma.masked_invalid(simulation.row_errors[:, addition])  # in some no such row was added
            seen = runs.count(axis=0)
            mean, se = (np.ma.filled(value, np.nan) for value in (runs.mean(axis=0), runs.std(axis=0, ddof=1)))
            kinds.append(("simulated", mean, se / np.sqrt(np.maximum(seen, 1)), int(seen[0])))
        rows += [
            {"series": f"round {addition + 1}", "kind": kind, "x": stage, "y": float(y[stage]),
             "y_low": float(y[stage] - se[stage]), "y_high": float(y[stage] + se[stage]), "n_seeds": count}
            for kind, y, se, count in kinds for stage in range(len(y))
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _by_round(rows: "pd.DataFrame") -> list[dict[str, Any]]:
    wide = rows.pivot(index=["series", "kind"], columns="x", values="y")
    in_turn = rows[["series", "kind"]].drop_duplicates()  # a text sorts round 10 before round 2
    return records(wide.loc[list(in_turn.itertuples(index=False, name=None))].reset_index())


def _write(
    out: Path, rows: "pd.DataFrame | None", curves: "pd.DataFrame | None", **records: list[dict[str, Any]]
) -> None:
    import pandas as pd

    from dp_base.files import write_text
    from figures.curves import draw_curves, save

    tables = {name: pd.DataFrame(rows) for name, rows in records.items() if rows}
    for name, content in (tables | {"rows": rows, "practice": curves}).items():
        if content is not None:
            write_text(out / f"{name}.csv", content.to_csv(index=False))
    if rows is not None and len(rows := rows.dropna(subset=["y", "y_low", "y_high"])):
        save(draw_curves(rows, xlabel="stage", ylabel="error on rows wrong when added", ordered=True), out / "rows")
    if curves is not None:
        label = "samples per dimension"
        save(
            draw_curves(curves, xlabel=label, ylabel="test error", logx=True, logy=True, panel="axis"), out / "practice"
        )
