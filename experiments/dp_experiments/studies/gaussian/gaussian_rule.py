"""The selection rule that guidance realises on the theory's own data, beside keep-hard of the same mean margin."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves
from dp_figures.tables import measured, predicted
from scipy.special import ndtr

from dp_experiments.studies.gaussian.fig_gaussian import OMEGA
from dp_experiments.studies.gaussian.gaussian_loop import gaussian, keep_hard_threshold, traces

NUMBERS = ("predicted", "measured")

ROUNDS = (1, 4, 9)
BINS = np.geomspace(1e-3, 3, 21)  # of the margin
FOOT = 0.1  # how far down the edge of keep-hard is drawn


def compute(quick: bool) -> pd.DataFrame:
    """The density of guided rows at margin |t| over that of plain rows, N(0, 1)."""
    seeds = 4 if quick else 16
    config = gaussian(f"guidance.omega={OMEGA}", "data.test=1000")
    with tempfile.TemporaryDirectory() as folder:
        guided = traces(config, ["practice"], seeds, Path(folder))["practice"]
    parts = []
    for k in ROUNDS:
        t, _, _ = guided.of_round(k - 1)
        count = np.histogram(np.abs(t), BINS)[0]
        unit = len(t) * np.diff(2 * ndtr(BINS))
        series = f"round {k}"
        alpha = keep_hard_threshold(t)
        middles = np.sqrt(BINS[1:] * BINS[:-1])
        seen = measured(series, middles, count / unit, np.sqrt(count) / unit, seeds, alpha=alpha)
        parts.append(seen.loc[count > 1])
        height = 1 / (2 * ndtr(alpha) - 1)
        parts.append(predicted(series, [BINS[0], alpha, alpha], [height, height, FOOT], alpha=alpha))
    return pd.concat(parts, ignore_index=True)


draw = partial(
    draw_curves,
    xlabel="margin |t| of the learner that guides",
    ylabel="density over that of plain rows",
    logx=True,
    logy=True,
    ordered=True,
)


def caption(table: pd.DataFrame) -> str:
    alphas = table.groupby("series", sort=False)["alpha"].first()
    return (
        f"What entropy guidance (ω = {OMEGA}) selects on the gaussian preset: the density of the new rows' margins, in "
        "standard deviations of plain rows, over the plain density. Lines: keep-hard at the threshold that gives the "
        f"same mean margin, α = {', '.join(f'{alpha:.3f}' for alpha in alphas)}. Guidance is a soft keep-hard, its "
        "threshold shrinking as the learner turns to w0."
    )
