"""Fig. 7: the theory checked, d = 350: error against the kept fraction, keep-hard and keep-easy."""

import itertools

import numpy as np
import pandas as pd

from dp_theory import KeepEasy, KeepHard, Problem
from experiments.paper.overlay import agreement_in_words, overlay
from figures.theory import draw_against_keep_fraction

NUMBERS = ("predicted", "simulated")
FIGURES = (7,)

D = 350
RHO = 0.9
POOLS = (700, 1400, 3500)
LAMS = {1e-6: "λ = 10⁻⁶", 0.1: "λ = 0.1"}  # per pool row, as in Theorem 1
RULES = {"keep-hard": KeepHard, "keep-easy": KeepEasy}


def compute(quick: bool) -> pd.DataFrame:
    """Tidy, with the columns rule, lam, n (rows of the pool), threshold (phi = d/n) and panel."""
    trials, sizes = (24, 8) if quick else (100, 14)
    p_line = np.linspace(0.02, 0.98, 385)
    p_points = np.linspace(0.04, 0.96, sizes)
    parts = []
    for n, (lam, ridge), (name, rule) in itertools.product(POOLS, LAMS.items(), RULES.items()):
        line = Problem(rule.with_keep_fraction(p_line), RHO, D / n, lam)
        points = Problem(rule.with_keep_fraction(p_points), RHO, D / n, lam)
        groups = {"series": f"{name}, {ridge}", "rule": name, "lam": lam, "n": n, "threshold": D / n}
        parts.append(overlay(line, points, p_line, p_points, d=D, trials=trials, **groups, panel=f"n = {n}"))
    return pd.concat(parts, ignore_index=True)


draw = draw_against_keep_fraction


def caption(table: pd.DataFrame) -> str:
    return (
        f"The theory checked (Fig. 7; d = {D}, a selector at cosine {RHO} to the truth, a panel per pool "
        "size n). Almost without ridge, the error peaks where as many rows are kept as there are "
        "dimensions, p = φ = d/n (a peak that finite d rounds off), and keep-hard beats keep-easy above it; a larger "
        "ridge removes the peak. "
        f"{agreement_in_words(table)}"
    )
