"""Theory held against the dense simulator over cells of parameters, as a test with a stated level.

Every cell gives three quantities. The overlap and the squared norm are sharper than the error, which an equal
stretch of both leaves unchanged. A gap between theory and simulation is noise if |z| stays below the Student t
quantile of a two-sided 1 % test, Bonferroni over cells, quantities and the two stages. Theory is the limit d → ∞, so a
gap beyond noise is allowed if it is the bias c/d of a finite size: extrapolated from d/2 and d it must vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from dp_theory.problem import Problem, Simulation, require
from dp_theory.ridge import predict
from dp_theory.rules import Direct, Entropy, KeepAll, KeepEasy, KeepHard, Random, Rule
from dp_theory.simulate import simulate

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = ("test_error", "overlap", "squared_norm")
CELLS = tuple(
    Problem(*cell)
    for cell in (
        (KeepHard(0.5), 0.9, 0.2, 0.01),
        (KeepHard(1.0), 0.6, 0.5, 1e-6),
        (KeepHard(0.5), 0.3, 1.0, 0.01),
        (KeepHard(0.8), -0.7, 0.4, 0.1),
        (KeepHard(1.0), 1.0, 0.3, 0.001),
        (KeepHard(0.5), 0.9, 0.25, 0.0),
        (KeepEasy(0.5), 0.9, 0.2, 0.01),
        (KeepEasy(1.0), 0.5, 1.0, 1e-6),
        (KeepEasy(0.3), 0.0, 0.5, 1.0),
        (KeepEasy(0.7), 0.8, 0.1, 0.0),
        (KeepAll(), 0.0, 0.5, 0.01),
        (KeepAll(), 0.0, 2.0, 0.0),
        (Random(0.4), 0.0, 0.75, 0.01),
        (Entropy(8.0), 0.9, 0.3, 0.01),
        (Entropy(30.0), 0.8, 1.0, 0.0),
        (Entropy(-3.0), 0.6, 0.5, 0.1),
        (Direct(KeepHard(0.5)), 0.9, 0.5, 0.01),
        (Direct(KeepEasy(0.5)), -0.9, 2.0, 0.1),
    )
)
LEVEL = 0.01
PRECISION = 0.01  # largest standard error, relative to the value
MOST = 20  # times `trials` are spent on a cell to reach it


def verify(
    cells: Sequence[Problem] = CELLS,
    *,
    d: int = 300,
    trials: int = 100,
    engine: str = "dense",
    seed: int = 0,
    workers: int = 1,
    advance: Callable[[int], None] = lambda done: None,
) -> pd.DataFrame:
    """A row per cell and quantity: theory, simulation, se and z at dimension d, z_half at d/2, z_limit extrapolated.

    Cells whose standard error exceeds 1 % of the value at `trials` get up to 20 times as many. verdict: 'agrees' (|z|
    below `level`), 'finite size' (|z_limit| is) or 'DISAGREES'. advance(1) is called after each cell.
    Raises InputError where d or trials < 4.
    """
    import pandas as pd
    from scipy.stats import t

    for name, value in (("d", d), ("trials", trials)):
        require(name, value, value >= 4, "be at least 4: two sizes and a standard error are needed")
    tail = LEVEL / (2 * 2 * len(cells) * len(QUANTITIES))
    rows = []
    for cell in cells:
        theory = predict(cell)
        half, full = (_precisely(cell, size, trials, engine, seed, workers) for size in (d // 2, d))
        level = float(t.isf(tail, min(half.trials, full.trials) - 1))
        for quantity in QUANTITIES:
            gap = {s: getattr(s, quantity) - getattr(theory, quantity) for s in (half, full)}
            se = {s: getattr(s, f"{quantity}_se") for s in (half, full)}
            ratio = d / (d // 2)  # gap = c/d cancels in ratio·gap(d) - gap(d/2)
            z = gap[full] / se[full]
            z_limit = (ratio * gap[full] - gap[half]) / np.hypot(ratio * se[full], se[half])
            verdict = "agrees" if abs(z) < level else "finite size" if abs(z_limit) < level else "DISAGREES"
            rows.append(
                {"rule": _label(cell.rule), "rho": cell.rho, "phi": cell.phi, "lam": cell.lam, "quantity": quantity,
                 "theory": getattr(theory, quantity), "simulation": getattr(full, quantity), "se": se[full], "z": z,
                 "z_half": gap[half] / se[half], "z_limit": z_limit, "level": level, "trials": full.trials, "d": d,
                 "verdict": verdict}
            )  # fmt: skip
        advance(1)
    return pd.DataFrame(rows)


def _precisely(cell: Problem, d: int, trials: int, engine: str, seed: int, workers: int) -> Simulation:
    def run(count: int) -> Simulation:
        return simulate(cell, d, count, engine=engine, seed=seed, workers=workers)

    result = run(trials)
    excess = max(getattr(result, f"{q}_se") / abs(getattr(result, q)) for q in QUANTITIES) / PRECISION
    return result if excess <= 1 else run(ceil(trials * min(1.2 * excess**2, MOST)))


def _label(rule: Rule) -> str:
    """keep-hard 0.5: the rule with its parameter."""
    if isinstance(rule, Direct):
        return f"direct {_label(rule.rule)}"
    name = "".join(f"-{c.lower()}" if c.isupper() else c for c in type(rule).__name__).lstrip("-")
    return " ".join([name, *(f"{value:g}" for value in list(vars(rule).values())[:1])])
