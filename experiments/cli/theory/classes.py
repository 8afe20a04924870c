"""`dp theory classes`: selection among K classes, over the number of rows."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import dp_theory
from dp_base.errors import InputError
from dp_base.locks import claimed
from dp_theory.multiclass.selection import NAMES
from experiments.cli.theory.options import VALUES, Json, Seed, WorkersOrAll, cores, values
from experiments.terminal import emit_json, progress, records, table

if TYPE_CHECKING:
    from pandas import DataFrame


def classes_command(
    classes: Annotated[str, typer.Option(help="Numbers of classes, a comma list.")] = "3,10",
    rule: Annotated[str, typer.Option(help=f"Rules, a list of {', '.join(NAMES)}.")] = "random,keep-hard,keep-easy",
    keep: Annotated[str, typer.Option(help=f"Kept fraction p: {VALUES}.")] = "0.5",
    rho: Annotated[float, typer.Option(help="Cosine of each direction of the selector with the teacher's.")] = 0.9,
    kept: Annotated[str, typer.Option(help=f"Training rows per dimension: {VALUES} (geometric).")] = "1,4,16",
    lam: Annotated[float | None, typer.Option(help="Ridge per training row; by default each row's best.")] = None,
    by: Annotated[str, typer.Option(help="Hard rows have high 'entropy', or a small 'margin'.")] = "entropy",
    kappa: Annotated[float, typer.Option(help="Slope of the selector's logits, for its entropy.")] = 1.0,
    tolerance: Annotated[float, typer.Option(help="Largest relative standard error of a predicted test error.")] = 1e-2,
    d: Annotated[int, typer.Option(help="Dimension of the simulation.")] = 240,
    trials: Annotated[int, typer.Option(min=0, help="Simulated experiments for each row; 0: none.")] = 0,
    out: Annotated[Path | None, typer.Option(help="New or empty folder for classes.csv, .png and .pdf.")] = None,
    seed: Seed = 0, workers: WorkersOrAll = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Softmax regression with K classes: what selection of rows by a selector of K classes changes."""
    counts = values("classes", classes)
    if any(count != int(count) for count in counts):
        raise InputError(f"--classes '{classes}' must be whole numbers")
    options = {
        "rules": [name.strip() for name in rule.split(",")], "keep": values("keep", keep),
        "kept": values("kept", kept, geometric=True),
    }  # fmt: skip
    steps = len(counts) * math.prod(len(several) for several in options.values())
    with claimed(out):
        with progress("classes", steps) as advance:
            found = dp_theory.classes_curves(
                [int(count) for count in counts], **options, rho=rho, lam=lam, by=by, kappa=kappa, tolerance=tolerance,
                trials=trials, d=d, seed=seed, workers=workers or cores(), advance=advance,
            )  # fmt: skip
        if out is not None:
            _write(found, out)
    if as_json:
        emit_json({"table": records(found)})
        return
    table(records(found.drop(columns=["cross_entropy_se", "overlap_se", "squared_norm_se"])))
    if out is not None:
        print(out / "classes.csv", out / "classes.png", out / "classes.pdf", sep="\n")


def _write(found: "DataFrame", out: Path) -> None:
    from dp_base.files import write_text
    from figures.curves import draw_curves, save

    write_text(out / "classes.csv", found.to_csv(index=False))
    save(draw_curves(_tidy(found), xlabel="training rows per dimension", ylabel="test error", logx=True, logy=True,
                     panel="panel"), out / "classes")  # fmt: skip


def _tidy(found: "DataFrame") -> "DataFrame":
    """What figures take: a panel for each number of classes, a series for each rule and kept fraction."""
    import pandas as pd

    from figures.tables import predicted, simulated

    several = found["keep"].nunique() > 1
    parts = []
    for _, row in found.iterrows():
        series = f"{row['rule']} {row['keep']:.2g}" if several else row["rule"]
        groups = {"panel": f"{row['classes']} classes"}
        parts.append(predicted(series, [row["kept"]], [row["test_error"]], **groups))
        if "simulated" in row:
            parts.append(
                simulated(series, [row["kept"]], [row["simulated"]], [row["simulated_se"]], row["trials"], **groups)
            )
    return pd.concat(parts, ignore_index=True)
