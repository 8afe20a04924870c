"""`dp theory forecast`: what a measured curve says, and what it foresees."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.terminal.lines import answer, records, say
from dp_theory.numerics.costs import AXES, require_axis

if TYPE_CHECKING:
    from dp_theory.fitting.curve import Curve


def forecast_command(
    curve: Annotated[
        Path,
        Argument(
            metavar="CURVE",
            help="comparison.csv, sweep.csv, a run with branches, or a CSV of columns kept, error, better also se, "
            "and strategy if not all rows are static. The paper's own curves are called table4 and table5.",
        ),
    ],
    target: Annotated[float | None, Option(help="The test error to reach.")] = None,
    where: Annotated[
        list[str],
        Option(metavar="COLUMN=VALUE", help="Which of a file's curves to take; may be given several times."),
    ] = [],
    fix: Annotated[
        list[str], Option("--fix", metavar="NAME=VALUE", help="A parameter that is known, such as floor=0.")
    ] = [],
    x: Annotated[str, Option(help=f"With --target: what is counted, {', '.join(AXES)}.")] = AXES[0],
    as_json: Json = False,
) -> None:
    """Shows the parameters under which the measured curve is most likely, with 95 % intervals.

    With --target, it shows as well what each strategy needs to reach that test error, the best first.

    The theory has two classes: of more, its parameters are effective numbers, to be trusted as far as hidden points
    confirm them.
    """
    from dp_theory.fitting.fit import fit
    from dp_theory.fitting.forecast import forecast

    require_axis(x)  # before the fit, which takes its time
    points = _read(curve, _pairs("--where", where))
    try:
        fixed = {name: float(value) for name, value in _pairs("--fix", fix).items()}
    except ValueError:
        raise InputError(f"--fix {' '.join(fix)}: VALUE must be a number") from None
    if points.has_practice:
        say("the curve has practice, whose theory takes longer: up to half a minute")
    elif points.selected.any():
        say("the curve has selected rows, whose theory takes some seconds")
    fitted = fit(points, fixed)
    parameters = records(fitted.parameters())
    titled = {"parameters of the theory": parameters}
    rows: list[dict[str, Any]] = []
    remarks = []
    if target is not None:
        rows = records(forecast(fitted, target, x=x))
        titled[f"more {x} to reach {target:g}, the best first"] = rows
        remarks.append("practice has rounds as large as its first pool; smaller ones may take less: dp theory practice")
    goodness = {"chi_square": fitted.chi_square, "freedom": fitted.freedom, "excess": fitted.excess}
    allowance = f"; intervals allow for {fitted.excess:.3g} times the variance" if fitted.excess > 1 else ""
    goodness_of_fit = f"chi-square {fitted.chi_square:.3g} of {fitted.freedom} degrees of freedom{allowance}"
    answer(as_json, {"parameters": parameters, "forecast": rows, **goodness}, titled, *remarks, goodness_of_fit)


def _pairs(option: str, entries: list[str]) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in entries]
    values = {name: value for name, sign, value in pairs if sign}
    if len(values) < len(entries):
        raise InputError(f"{option} {' '.join(entries)}: must read NAME=VALUE, each name once")
    return values


def _read(path: Path, where: dict[str, str]) -> "Curve":
    """The curve of a file, or the reported one of that name; says what is noted."""
    from dp_experiments.compare.curve_files import read_curve
    from dp_theory.fitting.theory import MAX_ROUNDS

    curve, notes = read_curve(path, where)
    rounds = curve.rounds.max()
    if rounds > MAX_ROUNDS:
        notes.append(f"practice of {rounds} rounds is solved as {MAX_ROUNDS} larger ones, whose errors are higher")
    for note in notes:
        say(note)
    return curve
