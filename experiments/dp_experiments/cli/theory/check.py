"""`dp theory check`: whether the Gaussian theory holds for features, and how wrong it would be."""

import re
from pathlib import Path
from typing import Annotated, Any

from numpy.lib.npyio import NpzFile
from typer import Argument, Option

from dp_base.errors import InputError, MissingError
from dp_base.locks import claimed
from dp_base.reading import foreign_file
from dp_experiments.cli.options import Json, comma_list
from dp_experiments.cli.theory.options import (
    GRAMMAR,
    POSITIVE,
    folder_option,
    ridge,
    whole_numbers,
    write_tables,
    written,
)
from dp_experiments.terminal.lines import answer, progress, records
from dp_theory.validity.check import LAM_PER_ROW, RULES, Check
from dp_theory.validity.features import Features

# Arrays of a file.
ROWS = ("X", "y")
SELECTOR = "w_s"
TEST = ("X_test", "y_test")


def check_command(
    features: Annotated[
        Path,
        Argument(
            metavar="FEATURES.npz",
            help="Arrays X (rows, columns) and y (rows,). Optional: X_test and y_test; w_s, the selector.",
        ),
    ],
    classes: Annotated[
        str | None,
        Option(help="The two classes to tell apart: A,B as y has them, or unions, A+B,C.  Default: the nearest two."),
    ] = None,
    rule: Annotated[str, Option(help=f"Rules, a comma list.  {GRAMMAR}kappa=2.")] = ",".join(RULES),
    keep: Annotated[float, Option(help="Share of normal scores that each rule keeps.")] = 0.3,
    lam: Annotated[float, ridge("the kept rows; lam in units of X's mean variance", least=POSITIVE)] = LAM_PER_ROW,
    kept: Annotated[str | None, Option(help="Numbers of kept rows, a comma list.  Default: d/2, d, 2d, …")] = None,
    trials: Annotated[int, Option(help="Experiments for each rule to begin with; a minute of more may follow.")] = 20,
    tolerance: Annotated[float, Option(help="Relative error of predictions that does not matter.")] = 0.1,
    out: Annotated[Path | None, folder_option("assumptions.csv and curves.csv")] = None,
    as_json: Json = False,
) -> None:
    """Tests the assumptions of the Gaussian theory one by one, and holds its errors against measured ones."""
    from dp_theory.validity.check import check

    sizes = None if kept is None else whole_numbers("kept", kept)
    sides = None if classes is None else [re.sub(r"\s*\+\s*", "+", side) for side in comma_list(classes)]
    rules = comma_list(rule)
    with claimed(out):
        data = read_features(features, classes=sides, lam_per_row=lam)
        with progress("check", len(rules)) as advance:
            result = check(
                data,
                rules,
                keep=keep,
                lam_per_row=lam,
                kept=sizes,
                trials=trials,
                tolerance=tolerance,
                advance=advance,
            )
        write_tables(out, assumptions=result.assumptions, curves=result.curves)
    view = result.view
    facts: dict[str, Any] = {
        "rows": len(view.y),
        "test_rows": 0 if view.test is None else len(view.test[1]),
        "directions": view.dimension,
        "classes": list(data.classes),
        "rho": view.rho,
        "flips": view.flips,
        "gaussian": result.gaussian,
        "law": result.law,
        "trials": result.trials,
        "more_rows": result.needed.rows,
        "more_trials": result.needed.trials,
        "assumptions": records(result.assumptions),
        "curves": records(result.curves),
    }
    assumed, compared = facts["assumptions"][:-2], facts["assumptions"][-2:]
    others = f" and {facts['test_rows']} test rows" if facts["test_rows"] else ""
    answer(
        as_json,
        facts,
        {
            "what is assumed": [
                {name: row[name] for name in ("assumption", "statistic", "p_value", "verdict")} for row in assumed
            ],
            "what is predicted; effect: measured errors over predicted ones, less 1": [
                row | {"effect": _effect(row["effect"], 1)} for row in compared
            ],
            "test error against kept rows: predicted and measured": facts["curves"],
        },
        f"{' against '.join(data.classes)}: {len(view.y)} rows{others} in {view.dimension} directions; "
        f"the selector has rho = {view.rho:.3f}, the best direction errs on {view.flips:.2%}",
        verdict(result),
        *written(out),
    )


def read_features(path: Path, **options: Any) -> Features:
    """The features of an .npz file, as `Features.of` makes them of its arrays and these options."""
    if not path.exists():
        raise MissingError(f"{path} does not exist: numpy.savez({path.name!r}, X=X, y=y) writes such a file")
    refused = foreign_file(path, "no .npz file of plain arrays", "numpy.savez(FILE, X=X, y=y) writes one")
    with refused, open(path, "rb") as opened, NpzFile(opened) as file:
        arrays = dict(file)
    has_test = not arrays.keys().isdisjoint(TEST)
    missing = {*ROWS, *(TEST if has_test else ())} - arrays.keys()
    unknown = arrays.keys() - {*ROWS, *TEST, SELECTOR}
    for verb, wrong in (("lacks", missing), ("has", unknown)):
        if wrong:
            raise InputError(
                f"{path} {verb} {', '.join(sorted(wrong))}: its arrays must be X (rows, columns), y (rows,) and"
                " optionally w_s, and both X_test and y_test"
            )
    test = (arrays["X_test"], arrays["y_test"]) if has_test else None
    return Features.of(arrays["X"], arrays["y"], w_s=arrays.get(SELECTOR), test=test, **options)


def _effect(less_one: float, decimals: int = 0) -> str:
    """A ratio less 1 in percent, or a large ratio as a factor."""
    return f"{less_one:+.{decimals}%}" if less_one < 10 else f"a factor of {1 + less_one:,.3g}"


def verdict(result: Check) -> str:
    """The answer, in a line."""
    if result.gaussian == "holds":
        return "the Gaussian theory holds here: its errors are those measured, within the tolerance"
    if result.gaussian == "undecided":
        wanted = {"rows": result.needed.rows, "--trials": result.needed.trials}
        more = " and ".join(f"{count:,} more {what}" for what, count in wanted.items() if count)
        return (
            "undecided: the Gaussian theory's errors are neither shown to be within the tolerance nor beyond it; "
            f"about {more or 'some more rows'} would tell, or a larger --tolerance"
        )
    off_theory, off_law = result.assumptions["effect"].iloc[-2:]
    wrong = f"the Gaussian theory does not hold here: errors are {_effect(off_theory)} off what it predicts"
    if result.law == "fails":
        return f"{wrong}, and {_effect(off_law)} off what the measured law predicts"
    if result.law == "holds":
        return f"{wrong}; the measured law predicts them"
    return f"{wrong}; whether the measured law predicts them is undecided"
