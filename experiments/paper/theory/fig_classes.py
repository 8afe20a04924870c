"""Selection among K classes: the error after keep-hard and keep-easy over that after random rows, as rows grow."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dp_theory import classes_curves
from figures.curves import draw_curves
from figures.tables import predicted, simulated

CLASSES = (2, 3, 5, 10)
RHO, KEEP = 0.9, 0.5
RULES = ("keep-hard", "keep-easy")
CHECKED = (2.0, 8.0)  # rows per dimension at which experiments are run
D = 120


def compute(quick: bool) -> pd.DataFrame:
    """Tidy: panel (rule), series (classes), x (training rows per dimension), y (error over that of random rows), z."""
    classes, points, trials = (CLASSES[::3], 4, 4) if quick else (CLASSES, 7, 12)
    options = {"rules": ("random", *RULES), "keep": [KEEP], "rho": RHO, "tolerance": 1e-2}
    lines = classes_curves(classes, kept=np.geomspace(0.5, 32, points).tolist(), **options)
    checks = classes_curves(classes, kept=CHECKED, trials=trials, d=D, **options)
    parts = []
    for rule in RULES:
        for k in classes:
            names = {"series": f"{k} classes", "panel": rule}
            ours, plain = (_of(lines, k, name)["test_error"] for name in (rule, "random"))
            parts.append(predicted(x=ours.index, y=ours / plain, **names))
            ours, plain = (_of(checks, k, name) for name in (rule, "random"))
            ratio = ours["simulated"] / plain["simulated"]
            se = ratio * np.hypot(ours["simulated_se"] / ours["simulated"], plain["simulated_se"] / plain["simulated"])
            z = (ratio - ours["test_error"] / plain["test_error"]) / se
            parts.append(simulated(x=ratio.index, y=ratio, se=se, n_seeds=trials, z=z.to_numpy(), **names))
    return pd.concat(parts, ignore_index=True)


def _of(curves: pd.DataFrame, classes: int, rule: str) -> pd.DataFrame:
    """Rows over kept rows per dimension."""
    return curves[(curves["classes"] == classes) & (curves["rule"] == rule)].set_index("kept")


def draw(table: pd.DataFrame) -> Figure:
    """The picture of the table."""
    return draw_curves(table, xlabel="training rows per dimension", ylabel="test error over that of random rows",
                       logx=True, logy=True, panel="panel", ordered=True)  # fmt: skip


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the numbers of this table."""
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
