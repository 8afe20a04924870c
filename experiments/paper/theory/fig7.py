"""Fig. 7: the theory checked, d = 350: error against the kept fraction, keep-hard and keep-easy."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dp_theory import KeepEasy, KeepHard, Problem
from experiments.paper.overlay import agreement_in_words, overlay
from figures.theory import draw_against_keep_fraction

D = 350
RHO = 0.9
POOLS = (700, 1400, 3500)
LAMS = {1e-6: "λ = 10⁻⁶", 0.1: "λ = 0.1"}  # per pool row, as in Theorem 1
RULES = {"keep-hard": KeepHard, "keep-easy": KeepEasy}


def compute(quick: bool) -> pd.DataFrame:
    """Tidy; columns rule, lam, n (pool), threshold (phi = d/n) and panel."""
    trials, sizes = (24, 8) if quick else (100, 14)
    p_line, p_points = np.linspace(0.02, 0.98, 385), np.linspace(0.04, 0.96, sizes)
    parts = [
        overlay(
            Problem(rule.with_keep_fraction(p_line), RHO, D / n, lam),
            Problem(rule.with_keep_fraction(p_points), RHO, D / n, lam),
            p_line,
            p_points,
            d=D,
            trials=trials,
            series=f"{name}, {limit}",
            rule=name,
            lam=lam,
            n=n,
            threshold=D / n,
            panel=f"n = {n}",
        )
        for n in POOLS
        for lam, limit in LAMS.items()
        for name, rule in RULES.items()
    ]
    return pd.concat(parts, ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    """The picture of the table."""
    return draw_against_keep_fraction(table)


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the numbers of this table."""
    return (
        f"The theory checked (Fig. 7; d = {D}, a selector at cosine {RHO} to the truth, a panel per pool "
        "size n). Almost without ridge, the error peaks where as many rows are kept as there are "
        "dimensions, p = φ = d/n (a peak that finite d rounds off), and keep-hard beats keep-easy above it; a larger "
        "ridge removes the peak. "
        f"{agreement_in_words(table)}"
    )
