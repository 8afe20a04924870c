"""Fig. 5 (c): accuracy against the over-sampling ratio at a fixed number of kept samples."""

from functools import partial

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves

from dp_experiments.paper.overlay import agreement_in_words, as_accuracy, overlay
from dp_theory import KeepHard, Problem

D = 512
KEPT = 2 * D
LAM = 0.01  # per training row
RHOS = (0.7, 0.9, 0.97, 1.0)


def compute(quick: bool) -> pd.DataFrame:
    """x is N/m, samples generated over kept."""
    trials, sizes = (24, 8) if quick else (100, 12)
    of_line = np.geomspace(1.01, 32, 200)
    of_points = np.geomspace(1.1, 32, sizes)
    parts = []
    for rho in RHOS:
        line = _problem(of_line, rho)
        points = _problem(of_points, rho)
        name = f"cosine {rho:g}"
        parts.append(overlay(line, points, of_line, of_points, d=D, trials=trials, band=True, series=name, rho=rho))
    return as_accuracy(pd.concat(parts, ignore_index=True)).assign(kept=KEPT, d=D, lam=LAM)


def _problem(ratio: np.ndarray, rho: float) -> Problem:
    return Problem(KeepHard.with_keep_fraction(1 / ratio), rho, D / (KEPT * ratio), LAM / ratio)


draw = partial(draw_curves, xlabel="over-sampling ratio N/m", ylabel="test accuracy (%)", logx=True, ordered=True)


def caption(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    return (
        f"Accuracy when m = {first['kept']} rows are kept, the hardest of a pool of N (Fig. 5c; d = {first['d']}, "
        f"ridge {first['lam']:g} per training row), for selectors at several cosines to the truth. Selection helps "
        f"until it is too hard. {agreement_in_words(table)}"
    )
