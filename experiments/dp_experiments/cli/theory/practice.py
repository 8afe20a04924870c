"""`dp theory practice`: the loop as theory, beside simulation and other ways to choose rows."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import (
    GRAMMAR,
    Flip,
    Seed,
    Workers,
    folder_option,
    ridge,
    write_tables,
    written,
)
from dp_experiments.terminal import answer, progress, records, say
from dp_theory.loop.losses import LOSSES, Square
from dp_theory.ridge.simulators.dense import check_size
from dp_theory.rules import RULES, fields_of, make_rule, read_rule

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from dp_theory.budgets.exponents import Scaling
    from dp_theory.loop import PracticePrediction, PracticeSimulation, RoundPlan

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
    phi: Annotated[
        float, typer.Option(help="d/n; n, the plain rows of the first pool, is the unit of --increment and --lam.")
    ] = 0.25,
    lam: Annotated[float, ridge("n")] = 0.0,
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
    out: Annotated[Path | None, folder_option("tables and pictures")] = None,
    seed: Seed = 0,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Theory of every round, derived and not proved. Shows the scaling exponents too, and the errors of Fig. 6."""
    from dp_theory import predict, simulate
    from dp_theory.budgets.exponents import STEPS, scaling
    from dp_theory.loop import PracticeProblem

    if loss not in LOSSES:
        raise InputError(f"unknown --loss '{loss}': one of {', '.join(LOSSES)}")
    check_size(d, max(trials, 1))
    plan = _plan(rule, alpha, window, increment, candidates)
    problem = PracticeProblem(phi, lam, (plan,) * rounds, accumulate=accumulate, flip=flip, loss=LOSSES[loss])
    knows_rows = loss == SQUARE and rule != SELF_VERIFY  # self-verification adds no row that it takes for wrong
    has_exponents = loss == SQUARE and rounds >= SCALING_ROUNDS
    experiments: dict[str, Any] = {"d": d, "trials": trials, "seed": seed, "workers": workers}
    with claimed(out):
        prediction = predict(problem)
        simulation = simulate(problem, **experiments) if trials else None
        stages = _stages(prediction, simulation)
        row_errors = _row_errors(prediction, simulation) if knows_rows else None
        compared = None
        if has_exponents:
            with progress("strategies", STEPS) as advance:
                compared = scaling(replace(problem, accumulate=True), **experiments, advance=advance)
        if out is not None:
            _write(out, stages, row_errors, compared)
    titled = {"rounds of practice": stages}
    if row_errors is not None:
        titled["error on the rows that were wrong when added, by stage (Fig. 6)"] = _by_round(row_errors)
    exponents = records(compared.exponents) if compared else []
    if compared:
        titled["exponents: slope of ln(error) on ln(samples), second half of the stages"] = exponents
    lacking = ""
    if loss != SQUARE:
        lacking = "no exponents, and no errors on the rows that were added: they are known for the square loss"
    elif not has_exponents:
        lacking = f"fewer than {SCALING_ROUNDS} rounds: no exponents"
    facts = {"stages": stages, "exponents": exponents, "row_errors": records(row_errors) if knows_rows else []}
    answer(as_json, facts, titled, lacking, *written(out))


def _plan(rule: str, alpha: float | None, window: float | None, increment: float, candidates: bool) -> "RoundPlan":
    from dp_theory.loop import Addition, Agree, Window

    if rule == "keep-hard" and alpha is None:
        if candidates:
            raise InputError("--window needs --increment in kept rows: leave out --candidates")
        return Window(1.0 if window is None else window, increment)
    if window is not None:
        raise InputError("--window is for keep-hard without --alpha: leave it out")
    name, parameters = read_rule(rule, lambda name: () if name == SELF_VERIFY else fields_of(name), alpha=alpha)
    keep = Agree() if name == SELF_VERIFY else make_rule(name, **parameters)
    size: dict[str, Any] = {"candidates" if candidates else "kept": increment}
    return Addition(**size, keep=keep)


def _stages(prediction: "PracticePrediction", simulation: "PracticeSimulation | None") -> list[dict[str, Any]]:
    import numpy as np
    import pandas as pd

    phi = prediction.problem.phi
    rules = [None, *(getattr(addition, "keep", None) for addition in prediction.additions)]
    columns = {
        "threshold": [getattr(rule, "alpha", None) for rule in rules],
        "kept_per_d": np.divide(prediction.kept, phi),
        "candidates_per_d": np.divide(prediction.candidates, phi),
        "test_error": prediction.test_error,
    }
    if not isinstance(prediction.problem.loss, Square):  # such a loop is integrated over points
        columns["certificate"] = prediction.certificate
    if simulation is not None:
        mean, se = simulation.test_error, simulation.test_error_se
        z = [(m - e) / s if 0 < s < np.inf else None for m, e, s in zip(mean, prediction.test_error, se, strict=True)]
        columns |= {"simulated": mean, "se": se, "z": z}
    return records(pd.DataFrame(columns, dtype=object).reset_index(names="stage"))


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


def _by_round(row_errors: "pd.DataFrame") -> list[dict[str, Any]]:
    wide = row_errors.pivot(index=["series", "kind"], columns="x", values="y")
    in_turn = row_errors[["series", "kind"]].drop_duplicates()  # as text, round 10 would come before round 2
    return records(wide.loc[list(in_turn.itertuples(index=False, name=None))].reset_index())


def _write(
    out: Path, stages: list[dict[str, Any]], row_errors: "pd.DataFrame | None", compared: "Scaling | None"
) -> None:
    import pandas as pd
    from dp_figures.curves import draw_curves, save

    write_tables(out, stages=pd.DataFrame(stages), rows=row_errors)
    if row_errors is not None and len(drawn := row_errors.dropna(subset=["y", "y_low", "y_high"])):
        save(draw_curves(drawn, xlabel="stage", ylabel="error on rows wrong when added", ordered=True), out / "rows")
    if compared is not None:
        write_tables(out, exponents=compared.exponents, practice=compared.curves)
        labels = {"xlabel": "samples per dimension", "ylabel": "test error", "panel": "axis"}
        save(draw_curves(compared.curves, **labels, logx=True, logy=True), out / "practice")
