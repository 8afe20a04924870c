"""Fig. 7: the theory checked, d = 350: error against the kept fraction, keep-hard and keep-easy."""

import itertools

import numpy as np
import pandas as pd
from dp_figures import style
from dp_figures.curves import draw_curves
from matplotlib.figure import Figure

from dp_experiments.paper.overlay import agreement_in_words, overlay
from dp_theory import KeepEasy, KeepHard, Problem

D = 350
RHO = 0.9
POOLS = (700, 1400, 3500)
SMALL_LAM = 1e-6  # almost none; per pool row, as in Theorem 1
LAM = 0.1
TIE = 1e-3  # errors that differ by less than this share are called equal
RULES = {"keep-hard": KeepHard, "keep-easy": KeepEasy}


def compute(quick: bool) -> pd.DataFrame:
    """n is rows of the pool, and threshold phi = d/n."""
    lams = {SMALL_LAM: "λ = 10⁻⁶", LAM: f"λ = {LAM:g}"}
    trials, sizes = (24, 8) if quick else (100, 14)
    p_line = np.linspace(0.02, 0.98, 385)
    p_points = np.linspace(0.04, 0.96, sizes)
    parts = []
    for n, (ridge, label), (name, rule) in itertools.product(POOLS, lams.items(), RULES.items()):
        line = Problem(rule.with_keep_fraction(p_line), RHO, D / n, ridge)
        points = Problem(rule.with_keep_fraction(p_points), RHO, D / n, ridge)
        groups = {"series": f"{name}, {label}", "rule": name, "lam": ridge, "n": n, "threshold": D / n}
        shared = {"rho": RHO, "panel": f"n = {n}"}
        parts.append(overlay(line, points, p_line, p_points, d=D, trials=trials, **groups, **shared))
    return pd.concat(parts, ignore_index=True).assign(d=D)


def draw(table: pd.DataFrame) -> Figure:
    """The interpolation threshold p = φ is marked."""
    figure = draw_curves(table, xlabel="kept fraction p", ylabel="test error", panel="panel")
    with style.paper():
        for ax, threshold in zip(figure.axes, table.groupby("panel", sort=False)["threshold"].first(), strict=True):
            ax.axvline(threshold, color=style.GREY, linewidth=0.7, linestyle=(0, (2, 2)), zorder=1)
            top = ax.get_xaxis_transform()
            ax.annotate("p = φ", (threshold, 1), (3, -1), top, "offset points", va="top", fontsize=7, color=style.GREY)
    return figure


def caption(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    above = table.query("kind == 'predicted' and lam == @SMALL_LAM and x > threshold").groupby("rule")["y"].mean()
    beats = "beats" if above["keep-hard"] < (1 - TIE) * above["keep-easy"] else "is as good as"
    return (
        f"The theory checked (Fig. 7; d = {first['d']}, a selector at cosine {first['rho']:g} to the truth, a panel "
        "per pool size n). Almost without ridge, the error peaks where as many rows are kept as there are "
        f"dimensions, p = φ = d/n (a peak that finite d rounds off), and keep-hard {beats} keep-easy above it; "
        f"a larger ridge removes the peak. {agreement_in_words(table)}"
    )
