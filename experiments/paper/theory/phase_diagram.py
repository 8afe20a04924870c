"""Keep-easy, random or keep-hard: the best selection over the rows per dimension and the selector's quality."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dp_theory import Direct, KeepAll, KeepEasy, KeepHard, Problem, simulate
from dp_theory.budgets.least_error import LeastError, least_error
from figures.phases import draw_phases

TUNED, RIDGELESS, PAID = "best ridge", "no ridge (λ → 0+)", "best ridge, candidates paid"
LEVEL = 0.01  # a smaller relative gain does not pay: random
D = 400
RULES = {"keep-hard": KeepHard, "keep-easy": KeepEasy}
CHECKS = [(psi, rho) for psi in (0.15, 0.5, 2.5) for rho in (0.3, 0.6, 0.9)]  # cells that are simulated


def compute(quick: bool) -> pd.DataFrame:
    """Columns panel, kind, x (psi of plain data), y (rho), rule (the better one), keep, lam, gain, predicted (gain).

    gain = ±(1 - error/error of plain data), + for keep-hard; candidates cost as much as a training row in PAID.
    """
    size, trials = (16, 16) if quick else (48, 100)
    psis, rhos = np.geomspace(0.05, 5, size), np.linspace(0.05, 0.99, size)
    rows = []
    for panel in (TUNED, RIDGELESS, PAID):
        for rho in rhos:
            rows += [cell for cell, _ in _cells(panel, psis, rho)]
        for seed, (psi, rho) in enumerate(CHECKS):
            ((cell, problems),) = _cells(panel, np.array([psi]), rho)
            error, plain = (simulate(p, D, trials, engine="law", seed=seed).test_error for p in problems)
            gain = np.sign(cell["gain"]) * (1 - error / plain)
            rows.append({**cell, "kind": "simulated", "gain": gain, "predicted": cell["gain"]})
    return pd.DataFrame(rows)


def _cells(panel: str, psis: np.ndarray, rho: float) -> list[tuple[dict[str, Any], tuple[Problem, Problem]]]:
    """The table's row of every psi, and the problems to compare there: the best selection, and plain data."""
    lam = 0.0 if panel == RIDGELESS else None

    def rows(p: Any) -> Any:
        return psis * (1 + 1 / p) / 2 if panel == PAID else psis

    plain = least_error("keep-hard", rho, psis, keep=1.0, lam=lam, d=D)
    hard, easy = (least_error(name, rho, rows, lam=lam, d=D) for name in RULES)
    cells = []
    for i, psi in enumerate(psis):
        name, best = min((("keep-hard", hard), ("keep-easy", easy)), key=lambda choice: choice[1].test_error[i])
        at = LeastError(*(float(field[i]) for field in best))
        gain = (1 if name == "keep-hard" else -1) * (1 - at.test_error / plain.test_error[i])
        rule = Direct(RULES[name].with_keep_fraction(min(at.keep, 1 - 1e-12)))
        problems = (
            Problem(rule, rho, float(np.broadcast_to(rows(at.keep), psis.shape)[i]), at.lam),
            Problem(KeepAll(), rho, float(psi), float(plain.lam[i])),
        )
        cell = {"panel": panel, "kind": "predicted", "x": psi, "y": rho, "rule": name, "keep": at.keep, "lam": at.lam}
        cells.append(({**cell, "gain": gain}, problems))
    return cells


def draw(table: pd.DataFrame) -> Figure:
    """The picture of the table."""
    return draw_phases(
        table,
        xlabel="ψ = d / training rows",
        ylabel="ρ, the selector's cosine to the truth",
        value="error saved",
        low="keep-easy",
        none="random",
        high="keep-hard",
        level=LEVEL,
    )


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the numbers of this table."""
    checked = table[table["kind"] == "simulated"]
    return (
        "The best selection of training rows against as many plain rows, each at its best kept fraction, in dimension "
        f"{D}: keep-hard with many rows, keep-easy with few; between the grey lines either saves less than {LEVEL:.0%} "
        "of the error, and random is as good. Left and middle: a given number of training rows. Right: a given budget, "
        "which pays for candidates too, each as much as training on a row; ψ is that of plain data. "
        f"Colours: theory; the {len(checked)} dots: the gain of the predicted optimum simulated, in the same colours, "
        f"at most {(checked['gain'] - checked['predicted']).abs().max():.1%} of the error away."
    )
