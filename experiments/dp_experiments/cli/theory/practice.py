"""`dp theory practice`: the loop as theory, beside simulation and other ways to choose rows."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import GRAMMAR, Seed, folder_option, ridge, write_tables, written
from dp_experiments.terminal.lines import answer, progress, records
from dp_theory.loop.losses import LOSSES, Square
from dp_theory.ridge.simulators.dense import check_size
from dp_theory.rules import RULES, make_rule

if TYPE_CHECKING:
    import pandas as pd

    from dp_theory import PracticePrediction, Simulation
    from dp_theory.loop import RoundPlan

SQUARE = "square"  # the loss for which exponents are known
SCALING_ROUNDS = 4  # fewer rounds fix no exponent


def practice_command(
    rounds: Annotated[int, Option(min=1, max=1000, help="Rounds of additions.")] = 8,
    rule: Annotated[
        str, Option(help=f"How the learner chooses rows: {', '.join(RULES)}.  {GRAMMAR}omega=4.")
    ] = "keep-hard",
    alpha: Annotated[
        float | None, Option(help="Constant threshold, in standard deviations of the learner's scores.")
    ] = None,
    window: Annotated[
        float | None,
        Option(help="Keep-hard's threshold is WINDOW·tan(pi E), E the test error.  Default without --alpha: 1."),
    ] = None,
    phi: Annotated[
        float, Option(help="d/n; n, the plain rows of the first pool, is the unit of --increment and --lam.")
    ] = 0.25,
    lam: Annotated[float, ridge("n")] = 0.0,
    increment: Annotated[float, Option(help="Rows kept in each round, in units of n.")] = 1.0,
    candidates: Annotated[
        bool, Option("--candidates", help="--increment counts the rows that are looked at, not those kept.")
    ] = False,
    fresh: Annotated[bool, Option("--fresh", help="Train on the newest rows alone.")] = False,
    flip: Annotated[float, Option(help="Probability that a label is flipped.")] = 0.0,
    loss: Annotated[str, Option(help=f"What the learner minimises: {', '.join(LOSSES)}.")] = SQUARE,
    d: Annotated[int, Option(help="Dimension of the simulation.")] = 300,
    trials: Annotated[int, Option(min=0, help="Simulated runs; 0: theory alone.")] = 0,
    out: Annotated[Path | None, folder_option("tables, and a picture if there are exponents")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Theory of every round, derived and not proved. Shows the scaling exponents from four rounds on."""
    from dp_theory import predict, simulate
    from dp_theory.budgets.exponents import STEPS, scaling
    from dp_theory.loop import PracticeProblem

    if loss not in LOSSES:
        raise InputError(f"unknown --loss '{loss}': one of {', '.join(LOSSES)}")
    if loss != SQUARE and not (lam or flip):
        raise InputError(f"--loss {loss} needs --lam above 0, such as 0.01: without --flip the rows are separable")
    check_size(d, max(trials, 1))
    plan = _plan(rule, alpha, window, increment, candidates)
    problem = PracticeProblem(phi, lam, (plan,) * rounds, accumulate=not fresh, flip=flip, loss=LOSSES[loss])
    experiments: dict[str, Any] = {"d": d, "trials": trials, "seed": seed}
    with claimed(out):
        stages = _stages(predict(problem), simulate(problem, **experiments) if trials else None)
        compared = None
        if loss == SQUARE and rounds >= SCALING_ROUNDS:
            with progress("strategies", STEPS) as advance:
                compared = scaling(replace(problem, accumulate=True), advance=advance)
        write_tables(out, stages=stages)
        if out is not None and compared is not None:
            from dp_figures.curves import draw_curves, save

            write_tables(out, exponents=compared.exponents, practice=compared.curves)
            labels = {"xlabel": "samples per dimension", "ylabel": "test error", "panel": "axis"}
            save(draw_curves(compared.curves, **labels, logx=True, logy=True), out / "practice")
    exponents = [] if compared is None else records(compared.exponents)
    rows = records(stages)
    titled = {"rounds of practice": rows} | (
        {"exponents: slope of ln(error) on ln(samples), second half of the stages": exponents} if exponents else {}
    )
    no_exponents = f"no exponents and no picture of them, which take the square loss and {SCALING_ROUNDS} rounds"
    answer(as_json, {"stages": rows, "exponents": exponents}, titled, "" if exponents else no_exponents, *written(out))


def _plan(rule: str, alpha: float | None, window: float | None, increment: float, candidates: bool) -> "RoundPlan":
    from dp_theory.loop import Addition, Window

    if rule == "keep-hard" and alpha is None:
        if candidates:
            raise InputError("--window needs --increment in kept rows: leave out --candidates")
        return Window(1.0 if window is None else window, increment)
    if window is not None:
        raise InputError("--window is for keep-hard without --alpha: leave it out")
    keep = make_rule(rule, alpha=alpha)
    return Addition(increment if candidates else None, None if candidates else increment, keep=keep)


def _stages(prediction: "PracticePrediction", simulation: "Simulation | None") -> "pd.DataFrame":
    import numpy as np
    import pandas as pd

    rules = [None, *(getattr(addition, "keep", None) for addition in prediction.additions)]
    columns = {
        "threshold": [getattr(rule, "alpha", None) for rule in rules],
        "kept_per_d": np.divide(prediction.kept, prediction.problem.phi),
        "candidates_per_d": np.divide(prediction.candidates, prediction.problem.phi),
        "test_error": prediction.test_error,
    }
    if not isinstance(prediction.problem.loss, Square):  # such a loop is integrated over points
        columns["certificate"] = prediction.certificate
    if simulation is not None:
        mean, se = simulation.test_error, simulation.test_error_se
        z = [(m - e) / s if 0 < s < np.inf else None for m, e, s in zip(mean, prediction.test_error, se, strict=True)]
        columns |= {"simulated": mean, "se": se, "z": z}
    return pd.DataFrame(columns, dtype=object).reset_index(names="stage")
