"""`dp theory classes`: selection among K classes, over the number of rows."""

import math
from pathlib import Path
from typing import Annotated

from typer import Option

from dp_base.locks import claimed
from dp_experiments.cli.options import Json, comma_list
from dp_experiments.cli.theory.options import (
    POSITIVE,
    VALUES,
    Seed,
    cores,
    folder_option,
    ridge,
    several,
    values,
    whole_numbers,
    write_tables,
    written,
)
from dp_experiments.terminal.lines import answer, progress, records
from dp_theory.multiclass.selection import RULES

HIDDEN = ("cross_entropy_se", "overlap_se", "squared_norm_se")  # columns that only --json and --out have


def classes_command(
    classes: Annotated[str, Option(help="Numbers of classes, a comma list.")] = "3,10",
    rule: Annotated[
        str,
        Option(help=f"Rules, a comma list of {', '.join(RULES)}."),
    ] = "random,keep-hard,keep-easy",
    keep: Annotated[str, several("Kept fraction p.")] = "0.5",
    rho: Annotated[float, Option(help="Cosine of each direction of the selector with the teacher's.")] = 0.9,
    kept: Annotated[str, several("Training rows per dimension.")] = "1,4,16",
    lam: Annotated[str, ridge("the training rows", metavar=VALUES, least=POSITIVE)] = "0.01",
    tolerance: Annotated[float, Option(help="Largest relative standard error of a predicted test error.")] = 1e-2,
    trials: Annotated[int, Option(min=0, help="Simulated experiments for each row, in 240 dimensions; 0: none.")] = 0,
    out: Annotated[Path | None, folder_option("classes.csv")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Softmax regression is trained on rows that a selector of K classes chose.

    VALUES: a value, a comma list, or start:stop:count with both ends, in equal steps (--kept and --lam: equal ratios).
    """
    from dp_theory.multiclass.curves import softmax_curves

    counts, rules = whole_numbers("classes", classes), comma_list(rule)
    fractions, sizes = values("keep", keep), values("kept", kept, geometric=True)
    tables = (counts, rules, fractions, sizes, values("lam", lam, geometric=True))
    with claimed(out):
        with progress("classes (half a second or more each)", math.prod(map(len, tables))) as advance:
            options = {"rho": rho, "tolerance": tolerance, "trials": trials, "seed": seed}
            curves = softmax_curves(*tables, **options, workers=cores(), advance=advance)
        write_tables(out, classes=curves)
    answer(as_json, {"table": records(curves)}, records(curves.drop(columns=list(HIDDEN))), *written(out))
