"""`dp theory fit | forecast`: what a measured curve says, and what it foresees."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dp_base.errors import InputError
from dp_theory.numerics.costs import AXES, DIRECT_COST, TRAINING_COST, require_axis
from experiments.cli.theory.options import Json
from experiments.cli.theory.predict import named
from experiments.terminal import emit_json, records, say, table

if TYPE_CHECKING:
    from dp_theory.fitting import Curve, Fit

CurveFile = Annotated[
    Path,
    typer.Argument(
        metavar="CURVE",
        help="comparison.csv, sweep.csv, a run with branches, a CSV of strategy, kept, error and better se; or the"
        " paper's own: table4, table5.",
    ),
]
Where = Annotated[
    list[str], typer.Option(metavar="COLUMN=VALUE", help="Which of a file's curves; may be given several times.")
]
Fixed = Annotated[
    list[str], typer.Option("--fix", metavar="NAME=VALUE", help="A parameter that is known, such as floor=0.")
]
Level = Annotated[float, typer.Option(help="Of all intervals.")]


def fit_command(
    curve: CurveFile,
    where: Where = [],  # noqa: B006 (typer reads the default)
    fix: Fixed = [],  # noqa: B006
    hide: Annotated[
        int | None, typer.Option(help="Largest sizes of each strategy to hide; by default a third.")
    ] = None,
    level: Level = 0.95,
    as_json: Json = False,
) -> None:
    """The theory's parameters that a measured curve is most likely under, and who predicts its hidden points best."""
    from dp_theory.fitting import fit, held_out, scores

    points, fixed = _read(curve, where), named(fix, "--fix")
    fitted = fit(points, fixed)
    parameters, hidden, why = records(fitted.parameters(level)), None, ""
    try:
        hidden = held_out(points, hide, fixed, level)
    except InputError as error:
        if hide is not None:
            raise
        why = str(error)
    judged = [] if hidden is None else records(scores(hidden))
    if as_json:
        points_hidden = [] if hidden is None else records(hidden)
        emit_json({"parameters": parameters, **_goodness(fitted), "held_out": judged, "hidden": points_hidden})
        return
    table([row | {"note": row["note"] or "-"} for row in parameters], title="parameters of the theory")
    _print_goodness(fitted)
    if hidden is None:
        say(f"nothing is held out: {why}")
        return
    print()
    table(judged, title="predicting hidden points, the best first: root mean square of ln(predicted/measured)")


def forecast_command(
    curve: CurveFile,
    target: Annotated[float, typer.Option(help="The test error to reach.")],
    where: Where = [],  # noqa: B006
    fix: Fixed = [],  # noqa: B006
    x: Annotated[str, typer.Option(help="What is counted: {}, {} or {}.".format(*AXES))] = AXES[0],
    level: Level = 0.95,
    direct_cost: Annotated[
        float | None, typer.Option(help=f"With --x compute: of a directly drawn sample.  Default: {DIRECT_COST:g}.")
    ] = None,
    training_cost: Annotated[
        float | None, typer.Option(help=f"With --x compute: of a training row.  Default: {TRAINING_COST:g}.")
    ] = None,
    as_json: Json = False,
) -> None:
    """How many more samples reach a test error with each strategy, with intervals, and which one to use."""
    from dp_theory.fitting import fit, forecast

    require_axis(x, direct_cost=direct_cost, training_cost=training_cost)  # before the fit, which takes its time
    fitted = fit(_read(curve, where), named(fix, "--fix"))
    if fitted.curve.practised.any():
        say("the curve has practice, whose theory takes longer: up to two minutes")
    found = forecast(fitted, target, x=x, level=level, direct_cost=direct_cost, training_cost=training_cost)
    rows = records(found)
    if as_json:
        emit_json({"forecast": rows, **_goodness(fitted)})
        return
    table([row | {"note": row["note"] or "-"} for row in rows], title=f"more {x} to reach {target:g}, the best first")
    _print_goodness(fitted)


def _goodness(fitted: "Fit") -> dict[str, float]:
    """How well the theory fits: without it nobody can judge what follows from the fit."""
    return {"chi_square": fitted.chi_square, "freedom": fitted.freedom, "excess": fitted.excess}


def _print_goodness(fitted: "Fit") -> None:
    print(f"\nchi-square {fitted.chi_square:.3g} of {fitted.freedom} degrees of freedom", end="")
    print(f"; intervals allow for {fitted.excess:.3g} times the variance" if fitted.excess > 1 else "")


def _read(path: Path, where: list[str]) -> "Curve":
    from dp_theory.fitting import MOST_ROUNDS, read_curve
    from experiments.presets.reported.curves import CURVES, reported_curve

    pairs = [entry.partition("=") for entry in where]
    for name, sign, _ in pairs:
        if not sign:
            raise InputError(f"--where {name} must read COLUMN=VALUE")
    chosen = {name: value for name, _, value in pairs}
    curve, notes = (reported_curve(str(path), chosen), []) if str(path) in CURVES else read_curve(path, chosen)
    if (rounds := curve.rounds.max()) > MOST_ROUNDS:
        notes = [*notes, f"practice of {rounds} rounds is solved as {MOST_ROUNDS} larger ones, whose errors are higher"]
    for note in notes:
        say(note)
    return curve
