"""`dp theory classes`: selection among K classes, over the number of rows."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from typer import Option

from dp_base.locks import claimed
from dp_experiments.cli.options import Json, comma_list
from dp_experiments.cli.theory.options import (
    POSITIVE,
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
from dp_experiments.terminal import answer, progress, records
from dp_theory.multiclass.selection import TAKES, make_selection
from dp_theory.multiclass.softmax_problem import SoftmaxProblem
from dp_theory.numerics.checks import Advance, require_positive, require_tolerance, unseen
from dp_theory.outcomes import SoftmaxOutputs
from dp_theory.rules import listed

if TYPE_CHECKING:
    from pandas import DataFrame

HIDDEN = ("cross_entropy_se", "overlap_se", "squared_norm_se")  # columns that only --json and --out have


def classes_command(
    classes: Annotated[str, Option(help="Numbers of classes, a comma list.")] = "3,10",
    rule: Annotated[
        str,
        Option(help=f"Rules, a comma list of {', '.join(TAKES)}.  entropy@kappa=2: of logits twice as steep."),
    ] = "random,keep-hard,keep-easy",
    keep: Annotated[str, several("Kept fraction p.")] = "0.5",
    rho: Annotated[float, Option(help="Cosine of each direction of the selector with the teacher's.")] = 0.9,
    kept: Annotated[str, several("Training rows per dimension.")] = "1,4,16",
    lam: Annotated[
        float | None, ridge("the training rows", "  Default: the best for each row.", least=POSITIVE)
    ] = None,
    tolerance: Annotated[float, Option(help="Largest relative standard error of a predicted test error.")] = 1e-2,
    trials: Annotated[int, Option(min=0, help="Simulated experiments for each row, in 240 dimensions; 0: none.")] = 0,
    out: Annotated[Path | None, folder_option("classes.csv, .png and .pdf")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Softmax regression is trained on rows that a selector of K classes chose.

    VALUES: a value, a comma list, or start:stop:count with both ends, in equal steps (--kept: equal ratios).
    """
    counts, rules = whole_numbers("classes", classes), comma_list(rule)
    fractions, sizes = values("keep", keep), values("kept", kept, geometric=True)
    cells = math.prod(map(len, (counts, rules, fractions, sizes)))
    with claimed(out):
        with progress("classes (half a second or more each)", cells) as advance:
            found = curves(counts, rules, fractions, sizes, rho, lam, tolerance, trials, seed, advance)
        if out is not None:
            _write(found, out)
    answer(as_json, {"table": records(found)}, records(found.drop(columns=list(HIDDEN))), *written(out))


def curves(
    classes: Sequence[int],
    rules: Sequence[str],
    keep: Sequence[float],
    kept: Sequence[float],
    rho: float = 0.9,
    lam: float | None = None,
    tolerance: float = 1e-2,
    trials: int = 0,
    seed: int = 0,
    advance: Advance = unseen,
    d: int = 240,
) -> "DataFrame":
    """A row for each number of classes, rule, kept fraction and number of training rows; numbers of rows and lam are
    per training row and dimension. Without lam each row has its best.
    """
    import pandas as pd

    from dp_theory.multiclass.best_ridge import with_best_ridge
    from dp_theory.multiclass.prediction import predict_softmax

    require_tolerance(tolerance)
    require_positive("without ridge the weights run away", lam=1.0 if lam is None else lam)
    require_positive("it is the number of training rows per dimension", kept=kept)
    rows = []
    for k, rule, p in itertools.product(classes, listed(rules), keep):
        selection = make_selection(rule, k, keep=None if rule == "keep-all" else p)
        fraction = float(selection.keep_fraction(k).mean())
        for number in kept:
            problem = SoftmaxProblem(k, selection, rho, fraction / number, fraction * (1.0 if lam is None else lam))
            if lam is None:
                problem = with_best_ridge(problem, seed=seed)
            row: dict[str, Any] = {"classes": k, "rule": rule, "keep": round(fraction, 9), "kept": number}
            row |= {"generated": number / fraction, "lam": problem.lam / fraction}
            found = predict_softmax(problem, tolerance=tolerance, seed=seed)
            row |= {field.name: float(getattr(found, field.name)) for field in fields(SoftmaxOutputs)}
            if trials:
                runs = problem.draw(d, trials, engine="dense", seed=seed, workers=cores())
                se = np.hypot(runs.test_error_se, found.test_error_se)
                z = (runs.test_error - found.test_error) / se if trials > 1 else np.nan  # one trial has no error
                row |= {"simulated": float(runs.test_error), "simulated_se": float(runs.test_error_se)}
                row |= {"z": float(z), "trials": trials}
            rows.append(row)
            advance(1)
    return pd.DataFrame(rows)


def _write(found: "DataFrame", out: Path) -> None:
    import pandas as pd
    from dp_figures.curves import draw_curves, save
    from dp_figures.tables import predicted, simulated

    write_tables(out, classes=found)
    series = found["rule"]
    if found["keep"].nunique() > 1:
        series += " " + found["keep"].map("{:.2g}".format)
    parts = []
    for (name, panel), rows in found.groupby([series, found["classes"].map("{} classes".format)], sort=False):
        parts.append(predicted(name, rows["kept"], rows["test_error"], panel=panel))
        if "simulated" in rows:
            points = rows["kept"], rows["simulated"], rows["simulated_se"], rows["trials"].iloc[0]
            parts.append(simulated(name, *points, panel=panel))
    labels = {"xlabel": "training rows per dimension", "ylabel": "test error", "panel": "panel"}
    save(draw_curves(pd.concat(parts, ignore_index=True), **labels, logx=True, logy=True), out / "classes")
