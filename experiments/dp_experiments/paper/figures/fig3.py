"""Fig. 3: accuracy against data size for several kept fractions, d = 512."""

from functools import partial

import numpy as np
import pandas as pd
from dp_figures.curves import draw_curves

from dp_experiments.paper.overlay import agreement_in_words, as_accuracy, overlay
from dp_theory import KeepAll, KeepHard, Problem

D = 512
RHO = 0.97
LAM = 1e-4  # per training row
KEPT_FRACTIONS = (1, 0.7, 0.5, 0.3, 0.2, 0.1)
GENERATED = "counting the samples generated"
TRAINED = "counting the samples trained on"


def compute(quick: bool) -> pd.DataFrame:
    """Both panels (which samples x counts) show the same experiments."""
    trials, sizes = (24, 8) if quick else (100, 14)
    parts = []
    for p in KEPT_FRACTIONS:
        rule = KeepHard.with_keep_fraction(p) if p < 1 else KeepAll()
        name = f"keep {p:.0%}" if p < 1 else "keep all"
        pool_of_line = np.geomspace(D / 4, 64 * D, 300) / p
        pool_of_points = (np.geomspace(D / 4, 64 * D, sizes).round() / p).round()
        line = Problem(rule, RHO, D / pool_of_line, p * LAM)
        points = Problem(rule, RHO, D / pool_of_points, p * LAM)
        of_p = overlay(line, points, pool_of_line, pool_of_points, d=D, trials=trials, band=True, series=name, p=p)
        parts += [of_p.assign(axis=GENERATED), of_p.assign(axis=TRAINED, x=of_p["x"] * p)]
    return as_accuracy(pd.concat(parts, ignore_index=True)).assign(rho=RHO, d=D, lam=LAM)


draw = partial(draw_curves, xlabel="samples", ylabel="test accuracy (%)", logx=True, panel="axis", ordered=True)


def caption(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    return (
        "Accuracy against data size when only the hardest share of a pool is kept (Fig. 3; "
        f"d = {first['d']}, ridge {first['lam']:g} per training row, a selector at cosine {first['rho']:g} to the "
        "truth). Per sample "
        "generated, harder selection pays later; per sample trained on, as when the selected distribution is "
        f"sampled directly, it pays from n ≈ d on. "
        f"{agreement_in_words(table.query('axis == @GENERATED'))}"
    )
