"""Selection among K classes: the error after keep-hard and keep-easy over that after random rows, as rows grow."""

from functools import partial

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import predicted, simulated

from dp_theory import Experiments, classes_curves

NUMBERS = ("predicted", "simulated")

CLASSES = (2, 3, 5, 10)
RHO = 0.9
KEEP = 0.5
RULES = ("keep-hard", "keep-easy")
CHECKED = (2.0, 8.0)  # rows per dimension at which experiments are run
D = 120


def compute(quick: bool) -> pd.DataFrame:
    classes, points, trials = (CLASSES[::3], 4, 4) if quick else (CLASSES, 7, 12)
    options = {"rules": ("random", *RULES), "keep": [KEEP], "rho": RHO, "tolerance": 1e-2}
    lines = classes_curves(classes, kept=np.geomspace(0.5, 32, points).tolist(), **options)
    checks = classes_curves(classes, kept=CHECKED, experiments=Experiments(trials, D), **options)
    parts = []
    for rule in RULES:
        for k in classes:
            names = {"series": f"{k} classes", "panel": rule}
            relative = _rows(lines, k, rule)["test_error"] / _rows(lines, k, "random")["test_error"]
            parts.append(predicted(x=relative.index, y=relative, **names))
            ours = _rows(checks, k, rule)
            random = _rows(checks, k, "random")
            ratio = ours["simulated"] / random["simulated"]
            relative_se = ours["simulated_se"] / ours["simulated"]
            random_se = random["simulated_se"] / random["simulated"]
            se = ratio * np.hypot(relative_se, random_se)
            z = (ratio - ours["test_error"] / random["test_error"]) / se
            parts.append(simulated(x=ratio.index, y=ratio, se=se, n_seeds=trials, z=z.to_numpy(), **names))
    return pd.concat(parts, ignore_index=True)


def _rows(curves: pd.DataFrame, classes: int, rule: str) -> pd.DataFrame:
    return curves[(curves["classes"] == classes) & (curves["rule"] == rule)].set_index("kept")


draw = partial(
    draw_curves,
    xlabel="training rows per dimension",
    ylabel="test error over that of random rows",
    logx=True,
    logy=True,
    panel="panel",
    ordered=True,
)


def caption(table: pd.DataFrame) -> str:
    hard = table[(table["panel"] == "keep-hard") & (table["kind"] == "predicted")]
    last = hard[hard["x"] == hard["x"].max()]
    gains = ", ".join(f"{1 - row.y:.0%} with {row.series}" for row in last.itertuples())
    checked = table[table["kind"] == "simulated"]
    return (
        f"Softmax regression on the half of a pool that a selector (cosine {RHO:g} to the teacher, entropy) finds hard "
        "or easy, against as many random rows, each at its best ridge. Few rows: easy are better; many: hard ones. "
        f"With more classes the change comes later. Saved by keep-hard at {last['x'].iloc[0]:.0f} rows per dimension: "
        f"{gains}. Points: {len(checked)} ratios simulated (d = {D}, {checked['n_seeds'].iloc[0]} experiments each), "
        f"largest |z| {checked['z'].abs().max():.1f}."
    )
