"""`dp theory forecast`: what a measured curve says, and what it foresees."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.cli.theory.options import allow_work, named_numbers
from dp_experiments.terminal import answer, records, say
from dp_theory.numerics.costs import AXES, require_axis

if TYPE_CHECKING:
    from dp_theory.fitting import Curve

POINT_SECONDS = 0.005  # to fit one of many points, measured
CurveFile = Annotated[
    Path,
    typer.Argument(
        metavar="CURVE",
        help="comparison.csv, sweep.csv, a run with branches, or a CSV with the columns strategy, kept, error and, "
        "better, se. The paper's own curves are called table4 and table5.",
    ),
]
Where = Annotated[
    list[str],
    typer.Option(metavar="COLUMN=VALUE", help="Which of a file's curves to take; may be given several times."),
]
Columns = Annotated[
    str | None,
    typer.Option(
        metavar="ROWS,ERROR",
        help="Which columns of a CSV file of static data hold the training rows, and the test error; or ROWS,ACCURACY "
        "if the second name says so, as val_acc or top1.",
    ),
]
Fixed = Annotated[
    list[str], typer.Option("--fix", metavar="NAME=VALUE", help="A parameter that is known, such as floor=0.")
]


def forecast_command(
    curve: CurveFile,
    target: Annotated[float | None, typer.Option(help="The test error to reach.")] = None,
    where: Where = [],
    columns: Columns = None,
    fix: Fixed = [],
    x: Annotated[str, typer.Option(help=f"With --target: what is counted, {', '.join(AXES)}.")] = AXES[0],
    as_json: Json = False,
) -> None:
    """Shows the parameters under which the measured curve is most likely, with 95 % intervals.

    With --target, it shows as well what each strategy needs to reach that test error, the best first.
    """
    from dp_theory.fitting import fit, forecast

    require_axis(x)  # before the fit, which takes its time
    if target is None and x != AXES[0]:
        raise InputError(f"--x {x} counts what a target takes: give --target")
    points = _read(curve, where, columns)
    _tell_of_time(points)
    fitted = fit(points, named_numbers("--fix", fix))
    parameters = records(fitted.parameters())
    rows: list[dict[str, Any]] = []
    if target is not None:
        rows = records(forecast(fitted, target, x=x))
    goodness = {"chi_square": fitted.chi_square, "freedom": fitted.freedom, "excess": fitted.excess}
    titled = {"parameters of the theory": _dashed(parameters)}
    if target is not None:
        titled[f"more {x} to reach {target:g}, the best first"] = _dashed(rows)
    allowance = f"; intervals allow for {fitted.excess:.3g} times the variance" if fitted.excess > 1 else ""
    said = f"chi-square {fitted.chi_square:.3g} of {fitted.freedom} degrees of freedom{allowance}"
    answer(as_json, {"parameters": parameters, "forecast": rows, **goodness}, titled, said)


def _tell_of_time(curve: "Curve") -> None:
    """Say beforehand that loops, selected rows and many points take time; too many are refused."""
    allow_work(POINT_SECONDS * len(curve.error), "give the mean error of each size, which tells as much")
    if curve.has_practice:
        say("the curve has practice, whose theory takes longer: up to half a minute")
    elif curve.selected.any():
        say("the curve has selected rows, whose theory takes some seconds")


def _dashed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"note": row["note"] or "-"} for row in rows]


def _read(path: Path, where: list[str], columns: str | None) -> "Curve":
    """The curve of a file, or the reported one of that name; says what is noted."""
    from dp_experiments.curve_files import MORE_CLASSES, read_curve
    from dp_experiments.presets.reported.scaling_curves import CURVES, reported_curve
    from dp_theory.fitting import MOST_ROUNDS

    chosen = {}
    for entry in where:
        name, sign, value = entry.partition("=")
        if not sign:
            raise InputError(f"--where {name} must read COLUMN=VALUE")
        if name in chosen:
            raise InputError(f"--where {name} is given twice: give it once")
        chosen[name] = value
    named = None if columns is None else tuple(name.strip() for name in columns.split(","))
    if named is not None and len(named) != 2:
        raise InputError(f"--columns {columns}: must name two columns, for example n,accuracy")
    if named is not None and str(path) in CURVES:
        raise InputError(f"--columns {columns} is for a CSV file; {path} is the paper's own curve")
    if str(path) in CURVES:
        curve = reported_curve(str(path), chosen)
        notes = [MORE_CLASSES]
    else:
        curve, notes = read_curve(path, chosen, named)
    for note in notes:
        say(note)
    rounds = curve.rounds.max()
    if rounds > MOST_ROUNDS:
        say(f"practice of {rounds} rounds is solved as {MOST_ROUNDS} larger ones, whose errors are higher")
    return curve
