"""Fig. 5 (c): accuracy against the over-sampling ratio at a fixed number of kept samples."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dp_theory import KeepHard, Problem
from experiments.paper.overlay import agreement_in_words, as_accuracy, overlay
from figures.curves import draw_curves

D = 512
KEPT = 2 * D
LAM = 0.01  # per training row
RHOS = (0.7, 0.9, 0.97, 1.0)


def compute(quick: bool) -> pd.DataFrame:
    """Tidy; x is N/m, the samples generated over the samples kept; column rho."""
    trials, sizes = (24, 8) if quick else (100, 12)
    ratios = np.geomspace(1.01, 32, 200), np.geomspace(1.1, 32, sizes)
    parts = []
    for rho in RHOS:
        line, points = (
            Problem(KeepHard.with_keep_fraction(1 / ratio), rho, D / (KEPT * ratio), LAM / ratio) for ratio in ratios
        )
        name = f"cosine {rho:g}"
        parts.append(overlay(line, points, *ratios, d=D, trials=trials, band=True, series=name, rho=rho))
    return as_accuracy(pd.concat(parts, ignore_index=True))


def draw(table: pd.DataFrame) -> Figure:
    """The picture of the table."""
    return draw_curves(table, xlabel="over-sampling ratio N/m", ylabel="test accuracy (%)", logx=True, ordered=True)


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the numbers of this table."""
    return (
        f"Accuracy when m = {KEPT} rows are kept, the hardest of a pool of N (Fig. 5c; d = {D}, ridge "
        f"{LAM:g} per training row), for selectors at several cosines to the truth. Selection helps until it "
        f"is too hard. {agreement_in_words(table)}"
    )
