"""`dp theory check`: whether the Gaussian theory holds for features, and how wrong it would be."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_theory.validity.check import LAM, RULES
from experiments.cli.theory.options import Json, Seed
from experiments.terminal import emit_json, progress, records, table

if TYPE_CHECKING:
    from dp_theory.validity import Check

SHOWN = ("rule", "kept", "share", "gaussian", "measured law", "measured", "se", "z", "z_law")


def check_command(
    features: Annotated[
        Path,
        typer.Argument(
            metavar="FEATURES.npz",
            help="Arrays X (rows, columns) and y (rows,), optionally X_test and y_test, w_s, the selector, and w_g, "
            "what labels the rows.",
        ),
    ],
    classes: Annotated[
        str | None,
        typer.Option(help="The two to tell apart: A,B as y has them, or unions, A+B,C. By default the nearest two."),
    ] = None,
    components: Annotated[int | None, typer.Option(min=1, help="Leading principal components to use.")] = None,
    rule: Annotated[str, typer.Option(help="Rules, a comma list.")] = ",".join(RULES),
    keep: Annotated[float, typer.Option(help="Share of normal scores that each rule keeps.")] = 0.3,
    lam: Annotated[float, typer.Option(help="Ridge per kept row, in units of X's mean variance.")] = LAM,
    kept: Annotated[
        str | None, typer.Option(help="Numbers of kept rows, a comma list. Default: d/2, d, 2d, …")
    ] = None,
    trials: Annotated[int, typer.Option(help="Experiments for each rule, on random rows.")] = 20,
    level: Annotated[float, typer.Option(help="Of all tests together.")] = 0.01,
    tolerance: Annotated[float, typer.Option(help="A relative error of predictions that does not matter.")] = 0.1,
    out: Annotated[
        Path | None, typer.Option(help="New or empty folder for assumptions.csv, curves.csv, check.png and .pdf.")
    ] = None,
    seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """Is the Gaussian theory valid for these features, and how wrong would it be? Assumption by assumption."""
    from dp_theory.validity import check, read_features

    sizes = None if kept is None else [_whole(part) for part in kept.split(",")]
    rules = [name.strip() for name in rule.split(",")]
    pair = None if classes is None else [re.sub(r"\s*\+\s*", "+", side.strip()) for side in classes.split(",")]
    with claimed(out):
        given = read_features(features, classes=pair, components=components, lam=lam, seed=seed)
        with progress("check", len(rules)) as advance:
            found = check(
                given, rules, keep=keep, lam=lam, sizes=sizes, trials=trials, seed=seed, level=level,
                tolerance=tolerance, advance=advance,
            )  # fmt: skip
        if out is not None:
            _write(found, out)
    view = found.view
    facts = {
        "rows": len(view.y), "test_rows": 0 if view.test is None else len(view.test[1]),
        "directions": view.dimension, "classes": list(given.classes), "rho": view.rho, "flips": view.flips,
        "gaussian_holds": found.gaussian_holds, "law_holds": found.law_holds,
    }  # fmt: skip
    if as_json:
        emit_json(facts | {"assumptions": records(found.assumptions), "curves": records(found.curves)})
        return
    rows = [row | {"effect": f"{row['effect']:+.1%}"} for row in records(found.assumptions)]
    table(rows, title=f"what the theory assumes, at level {level:g}; effect: on the predicted error")
    print()
    table(records(found.curves[list(SHOWN)]), title="test error against kept rows: predicted and measured")
    others = "" if view.test is None else f" and {len(view.test[1])} test rows"
    print(
        f"\n{given.classes[0]} against {given.classes[1]}: {len(view.y)} rows{others} in {view.dimension} directions;"
        f" the selector has rho = {view.rho:.3f}, the best direction errs on {view.flips:.2%}\n{verdict(found)}"
    )
    if out is not None:
        print(*(out / name for name in ("assumptions.csv", "curves.csv", "check.png", "check.pdf")), sep="\n")


def verdict(found: "Check") -> str:
    """The answer, in a line."""
    if found.gaussian_holds:
        return "the Gaussian theory holds here: its errors are those measured"
    worst, law = found.assumptions["effect"].iloc[-2], found.assumptions["effect"].iloc[-1]
    wrong = f"the Gaussian theory does not hold here: errors are {worst:+.0%} off what it predicts"
    if found.law_holds:
        return f"{wrong}; the measured law predicts them"
    return f"{wrong}, and {law:+.0%} off what the measured law predicts"


def _whole(text: str) -> int:
    if not text.strip().isdecimal():
        raise InputError(f"--kept {text}: must be whole numbers, comma-separated")
    return int(text)


def _write(found: "Check", out: Path) -> None:
    from dp_base.files import write_text
    from experiments.paper.checked import picture, tidy
    from figures.curves import save

    write_text(out / "assumptions.csv", found.assumptions.to_csv(index=False))
    write_text(out / "curves.csv", found.curves.to_csv(index=False))
    save(picture(tidy(found)), out / "check")
