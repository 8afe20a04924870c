"""`dp theory practice`: the loop as theory, beside simulation and other ways to choose rows."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import (
    GRAMMAR,
    DirectCost,
    Flip,
    Seed,
    TrainingCost,
    Workers,
    folder_option,
    ridge,
)
from dp_experiments.terminal import emit_json, progress, records, say, table
from dp_theory.loop.losses import LOSSES, Square
from dp_theory.numerics.costs import DIRECT_COST, TRAINING_COST, require_costs
from dp_theory.ridge.simulators.dense import check_size
from dp_theory.rules import RULES, fields_of, make_rule, read_rule

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from dp_theory.loop import PracticePrediction, PracticeProblem, PracticeSimulation, RoundPlan

SELF_VERIFY = "self-verify"  # keeps the rows whose labels the learner confirms
SQUARE = "square"  # the loss whose learners are linear in the labels: exponents and row errors are known for it alone
SCALING_ROUNDS = 4  # fewer rounds fix no exponent


def practice_command(
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds of additions.")] = 8,
    rule: Annotated[
        str, typer.Option(help=f"How the learner chooses rows: {', '.join((*RULES, SELF_VERIFY))}.  {GRAMMAR}")
    ] = "keep-hard",
    alpha: Annotated[
        float | None, typer.Option(help="Constant threshold, in standard deviations of the learner's scores.")
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            help="Threshold window·tan(pi E) of keep-hard, E the test error.  Default, if it has no other: 1."
        ),
    ] = None,
    weight_power: Annotated[
        float, typer.Option(help="With --window: a row weighs its threshold to the power -WEIGHT_POWER.")
    ] = 0.0,
    phi: Annotated[float, typer.Option(help="d/n; n is the unit of --initial, --increment and --lam.")] = 0.25,
    lam: Annotated[float, ridge("n")] = 0.0,
    initial: Annotated[float, typer.Option(help="Plain rows of the first pool, in units of n.")] = 1.0,
    increment: Annotated[float, typer.Option(help="Rows kept in each round, in units of n.")] = 1.0,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="--increment counts the rows that are looked at, not those kept.")
    ] = False,
    accumulate: Annotated[
        bool, typer.Option("--accumulate/--fresh", help="Train on all rows, or on the newest alone.")
    ] = True,
    flip: Flip = 0.0,
    loss: Annotated[str, typer.Option(help=f"What the learner minimises: {', '.join(LOSSES)}.")] = SQUARE,
    d: Annotated[int, typer.Option(help="Dimension of the simulation.")] = 300,
    trials: Annotated[int, typer.Option(min=0, help="Simulated runs; 0: theory alone.")] = 0,
    band: Annotated[
        int | None, typer.Option(help="With --trials: where 95 % of single runs in this dimension lie.")
    ] = None,
    direct_cost: DirectCost = DIRECT_COST,
    training_cost: TrainingCost = TRAINING_COST,
    out: Annotated[Path | None, folder_option("tables and pictures")] = None,
    seed: Seed = 0,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Theory of every round, derived and not proved. Shows the scaling exponents too, and the errors of Fig. 6."""
    from dp_theory.loop import PracticeProblem
    from dp_theory.loop.prediction import LEAST_TRIALS
    from dp_theory.numerics.checks import LARGEST_D, require, require_size

    if loss not in LOSSES:
        raise InputError(f"unknown --loss '{loss}': one of {', '.join(LOSSES)}")
    require_costs(direct=direct_cost, training=training_cost)
    check_size(d, max(trials, 1))
    if band is not None:
        require_size("--band", band, 3, LARGEST_D, "it is a dimension")
        require(
            "--trials",
            trials,
            trials >= LEAST_TRIALS,
            f"be {LEAST_TRIALS} or more for --band: they say how far runs scatter",
        )
    plan = _plan(rule, alpha, window, weight_power, increment, candidates)
    problem = PracticeProblem(
        phi, lam, (plan,) * rounds, initial=initial, accumulate=accumulate, flip=flip, loss=LOSSES[loss]
    )
    effort = Effort(d, trials, seed, workers, band)
    with claimed(out):
        tables = _solve(problem, rule, loss, effort, direct_cost, training_cost)
        if out is not None:
            _write(tables, out)
    if as_json:
        row_errors = [] if tables.row_errors is None else records(tables.row_errors)
        emit_json({"stages": tables.stages, "exponents": tables.exponents, "row_errors": row_errors})
        return
    _show(tables, loss)
    if out is not None:
        print(*sorted(out.iterdir()), sep="\n")


def _plan(
    rule: str, alpha: float | None, window: float | None, power: float, increment: float, candidates: bool
) -> "RoundPlan":
    from dp_theory.loop import Addition, Agree, Window

    if rule == "keep-hard" and alpha is None:
        if candidates:
            raise InputError("--window needs --increment in kept rows: leave out --candidates")
        return Window(1.0 if window is None else window, increment, power)
    if window is not None or power:
        raise InputError("--window and --weight-power are for keep-hard without --alpha: leave them out")
    name, parameters = read_rule(rule, lambda name: () if name == SELF_VERIFY else fields_of(name), alpha=alpha)
    keep = Agree() if name == SELF_VERIFY else make_rule(name, **parameters)
    size: dict[str, Any] = {"candidates" if candidates else "kept": increment}
    return Addition(**size, keep=keep)


@dataclass(frozen=True)
class Effort:
    """How a loop is simulated; trials is 0 for theory alone."""

    d: int
    trials: int
    seed: int
    workers: int
    band: int | None  # the dimension of the bands, if they are asked for


@dataclass(frozen=True)
class PracticeTables:
    """What is shown and written of a loop."""

    stages: list[dict[str, Any]]
    row_errors: "pd.DataFrame | None"  # None where they are not known
    exponents: list[dict[str, Any]]
    curves: "pd.DataFrame | None"  # those that the exponents are slopes of


def _solve(
    problem: "PracticeProblem", rule: str, loss: str, effort: Effort, direct_cost: float, training_cost: float
) -> PracticeTables:
    from dp_theory import predict, simulate
    from dp_theory.budgets.exponents import STEPS, scaling

    prediction = predict(problem)
    simulation = None
    if effort.trials:
        simulation = simulate(problem, effort.d, effort.trials, seed=effort.seed, workers=effort.workers)
    row_errors = None
    if loss == SQUARE and rule != SELF_VERIFY:  # self-verification adds no row that it takes for wrong
        row_errors = _row_errors(prediction, simulation)
    compared = None
    if loss == SQUARE and len(problem.additions) >= SCALING_ROUNDS:
        with progress("strategies", STEPS) as advance:
            compared = scaling(
                replace(problem, accumulate=True),
                d=effort.d,
                trials=effort.trials,
                direct_cost=direct_cost,
                training_cost=training_cost,
                seed=effort.seed,
                workers=effort.workers,
                advance=advance,
            )
    return PracticeTables(
        stages=_stages(prediction, simulation, effort.band),
        row_errors=row_errors,
        exponents=records(compared.exponents) if compared else [],
        curves=compared.curves if compared else None,
    )


def _stages(
    prediction: "PracticePrediction", simulation: "PracticeSimulation | None", band: int | None
) -> list[dict[str, Any]]:
    phi = prediction.problem.phi
    stages = []
    bands = None if simulation is None or band is None else prediction.band(simulation, band)
    for stage, error in enumerate(prediction.test_error):
        keep = getattr(prediction.additions[stage - 1], "keep", None) if stage else None
        record = {
            "stage": stage,
            "threshold": getattr(keep, "alpha", None),
            "kept_per_d": prediction.kept[stage] / phi,
            "candidates_per_d": prediction.candidates[stage] / phi,
            "test_error": error,
        }
        if not isinstance(prediction.problem.loss, Square):  # such a loop is integrated over points
            record["certificate"] = prediction.certificate[stage]
        if simulation is not None:
            mean = simulation.test_error[stage]
            se = simulation.test_error_se[stage]
            z = (mean - error) / se if 0 < se < math.inf else None
            record |= {"simulated": mean, "se": se, "z": z}
        if bands is not None:
            record |= {"band_low": bands[0][stage], "band_high": bands[1][stage]}
        stages.append({name: _plain(value) for name, value in record.items()})
    return stages


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _row_errors(prediction: "PracticePrediction", simulation: "PracticeSimulation | None") -> "pd.DataFrame":
    """The error, by stage, on the rows that were wrong when they were added."""
    import pandas as pd

    parts = []
    for addition in range(len(prediction.additions)):
        series = f"round {addition + 1}"
        parts.append(_predicted_row_errors(prediction, addition, series))
        if simulation is not None:
            parts.append(_simulated_row_errors(simulation.row_errors[:, addition], series))
    return pd.concat(parts, ignore_index=True)


def _predicted_row_errors(prediction: "PracticePrediction", addition: int, series: str) -> "pd.DataFrame":
    """The error by stage; nan, after a line, where the theory has none."""
    import numpy as np

    from dp_theory.loop import row_errors

    try:
        errors = row_errors(prediction, addition)
    except InputError as error:
        say(str(error))
        errors = np.full(len(prediction.test_error), np.nan)
    return _tidy_rows(series, "predicted", errors, np.zeros(len(errors)), 0)


def _simulated_row_errors(runs: "np.ndarray", series: str) -> "pd.DataFrame":
    """The mean over runs (trials, stages), without runs in which no such row was added."""
    import numpy as np

    found = np.ma.masked_invalid(runs)
    count = found.count(axis=0)
    mean = np.ma.filled(found.mean(axis=0), np.nan)
    sd = np.ma.filled(found.std(axis=0, ddof=1), np.nan)
    return _tidy_rows(series, "simulated", mean, sd / np.sqrt(np.maximum(count, 1)), int(count[0]))


def _tidy_rows(series: str, kind: str, y: "np.ndarray", se: "np.ndarray", n_seeds: int) -> "pd.DataFrame":
    import pandas as pd

    columns = {"series": series, "kind": kind, "x": range(len(y)), "y": y, "y_low": y - se, "y_high": y + se}
    return pd.DataFrame({**columns, "n_seeds": n_seeds})


def _show(tables: PracticeTables, loss: str) -> None:
    table(tables.stages, title="rounds of practice")
    if tables.row_errors is not None:
        print()
        rows = _by_round(tables.row_errors)
        table(rows, title="error on the rows that were wrong when added, by stage (Fig. 6)")
    if tables.curves is not None:
        print()
        table(tables.exponents, title="exponents: slope of ln(error) on ln(samples), second half of the stages")
    elif loss != SQUARE:
        say("no exponents, and no errors on the rows that were added: they are known for the square loss")
    else:
        say(f"fewer than {SCALING_ROUNDS} rounds: no exponents")


def _by_round(row_errors: "pd.DataFrame") -> list[dict[str, Any]]:
    wide = row_errors.pivot(index=["series", "kind"], columns="x", values="y")
    in_turn = row_errors[["series", "kind"]].drop_duplicates()  # as text, round 10 would come before round 2
    return records(wide.loc[list(in_turn.itertuples(index=False, name=None))].reset_index())


def _write(tables: PracticeTables, out: Path) -> None:
    import pandas as pd
    from dp_figures.curves import draw_curves, save

    from dp_base.files import write_text

    frames = {
        "stages": pd.DataFrame(tables.stages),
        "exponents": pd.DataFrame(tables.exponents) if tables.exponents else None,
        "rows": tables.row_errors,
        "practice": tables.curves,
    }
    for name, frame in frames.items():
        if frame is not None:
            write_text(out / f"{name}.csv", frame.to_csv(index=False))
    if tables.row_errors is not None:
        drawn = tables.row_errors.dropna(subset=["y", "y_low", "y_high"])
        if len(drawn):
            figure = draw_curves(drawn, xlabel="stage", ylabel="error on rows wrong when added", ordered=True)
            save(figure, out / "rows")
    if tables.curves is not None:
        figure = draw_curves(
            tables.curves,
            xlabel="samples per dimension",
            ylabel="test error",
            logx=True,
            logy=True,
            panel="axis",
        )
        save(figure, out / "practice")
