"""Keep-easy, random or keep-hard: the best selection over the rows per dimension and the selector's quality."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from dp_figures.phases import draw_phases

from dp_theory import Direct, KeepAll, KeepEasy, KeepHard, Problem, simulate
from dp_theory.budgets.least_error import LeastError, least_error

NUMBERS = ("predicted", "simulated")

TUNED = "best ridge"
RIDGELESS = "no ridge (λ → 0+)"
PAID = "best ridge, candidates paid"
LEVEL = 0.01  # a smaller relative gain does not pay: random
D = 400
RULES = {"keep-hard": KeepHard, "keep-easy": KeepEasy}
CHECKS = [(psi, rho) for psi in (0.15, 0.5, 2.5) for rho in (0.3, 0.6, 0.9)]  # cells that are simulated


def compute(quick: bool) -> pd.DataFrame:
    """A row for each cell of the maps.

    The columns are panel, kind, x (psi of plain data), y (rho), rule (the better one), its keep and lam, and gain. The
    gain is 1 - error / error of plain data, with a minus if keep-easy is better. In PAID, a candidate costs as much as
    a training row. Simulated cells also have `predicted`, the gain by theory.
    """
    size, trials = (16, 16) if quick else (48, 100)
    psis = np.geomspace(0.05, 5, size)
    rows = []
    for panel in (TUNED, RIDGELESS, PAID):
        for rho in np.linspace(0.05, 0.99, size):
            rows += [cell.row for cell in _cells(panel, psis, rho)]
        for seed, (psi, rho) in enumerate(CHECKS):
            (cell,) = _cells(panel, np.array([psi]), rho)
            error = simulate(cell.best, D, trials, engine="law", seed=seed).test_error
            plain_error = simulate(cell.plain, D, trials, engine="law", seed=seed).test_error
            gain = np.sign(cell.row["gain"]) * (1 - error / plain_error)
            rows.append({**cell.row, "kind": "simulated", "gain": gain, "predicted": cell.row["gain"]})
    return pd.DataFrame(rows)


class _Cell(NamedTuple):
    """A cell of a map: its row of the table, and the problems that are compared there."""

    row: dict[str, Any]
    best: Problem
    plain: Problem


def _cells(panel: str, psis: np.ndarray, rho: float) -> list[_Cell]:
    """The cells of one row of a map. psis: of plain data, shape (cells,)."""
    lam = 0.0 if panel == RIDGELESS else None

    def psi_of(keep: Any) -> Any:
        """psi of selected data of the same budget, by their keep fraction."""
        return psis * (1 + 1 / keep) / 2 if panel == PAID else psis

    plain = least_error("keep-hard", rho, psis, keep=1.0, lam=lam, d=D)
    least = {name: least_error(name, rho, psi_of, lam=lam, d=D) for name in RULES}
    cells = []
    for i, psi in enumerate(psis):
        name = min(RULES, key=lambda each: least[each].test_error[i])
        best = LeastError(*(float(field[i]) for field in least[name]))
        saved = 1 - best.test_error / plain.test_error[i]
        row = {"panel": panel, "kind": "predicted", "x": psi, "y": rho, "rule": name, "keep": best.keep}
        row |= {"lam": best.lam, "gain": saved if name == "keep-hard" else -saved}
        rule = Direct(RULES[name].with_keep_fraction(min(best.keep, 1 - 1e-12)))
        selected_psi = float(np.broadcast_to(psi_of(best.keep), psis.shape)[i])
        selected = Problem(rule, rho, selected_psi, best.lam)
        cells.append(_Cell(row, selected, Problem(KeepAll(), rho, float(psi), float(plain.lam[i]))))
    return cells


draw = partial(
    draw_phases,
    xlabel="ψ = d / training rows",
    ylabel="ρ, the selector's cosine to the truth",
    value="error saved",
    low="keep-easy",
    none="random",
    high="keep-hard",
    level=LEVEL,
)


def caption(table: pd.DataFrame) -> str:
    checked = table[table["kind"] == "simulated"]
    return (
        "The best selection of training rows against as many plain rows, each at its best kept fraction, in dimension "
        f"{D}: keep-hard with many rows, keep-easy with few; between the grey lines either saves less than {LEVEL:.0%} "
        "of the error, and random is as good. Left and middle: a given number of training rows. Right: a given budget, "
        "which pays for candidates too, each as much as training on a row; ψ is that of plain data. "
        f"Colours: theory; the {len(checked)} dots: the gain of the predicted optimum simulated, in the same colours, "
        f"at most {(checked['gain'] - checked['predicted']).abs().max():.1%} of the error away."
    )
