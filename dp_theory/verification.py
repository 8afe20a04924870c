"""Theorem 1 held against simulation over cells of parameters, as a test with a stated level.

The law simulator at d = 20,000 has a bias far below the noise, and is itself held against the dense experiment at a
small d. Tests are Student's, with Bonferroni over cells, quantities and both steps.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dp_theory.api import predict, simulate
from dp_theory.numerics.checks import MAX_TRIALS, Advance, require_size, require_whole, unseen
from dp_theory.outcomes import QUANTITIES
from dp_theory.ridge.problem import Problem
from dp_theory.rules import Direct, Entropy, KeepAll, KeepEasy, KeepHard, Random

if TYPE_CHECKING:
    import pandas as pd

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
# Largest standard error that a verdict may rest on, relative to the value.
PRECISION = 0.01


def verify(
    cells: Sequence[Problem] = CELLS,
    *,
    d: int = 20_000,
    dense_d: int = 200,
    trials: int = 200,
    seed: int = 0,
    workers: int | None = 1,
    advance: Advance = unseen,
) -> "pd.DataFrame":
    """A row per cell and quantity: z of the law at d against theory, and of the dense experiment against the law at
    dense_d. The verdict is "agrees", "DISAGREES" where one exceeds `level`, or "imprecise" where se exceeds 1 % of the
    value.
    """
    import pandas as pd
    from scipy.stats import t

    require_whole(trials=trials)
    require_size("trials", trials, 4, MAX_TRIALS, "a standard error is needed")
    level = float(t.isf(LEVEL / (2 * 2 * len(cells) * len(QUANTITIES)), trials - 1))
    rows = []
    for cell in cells:
        theory = predict(cell)
        far, near, dense = (
            simulate(cell, size, trials, engine=engine, seed=seed, workers=workers)
            for size, engine in ((d, "law"), (dense_d, "law"), (dense_d, "dense"))
        )
        for quantity in QUANTITIES:
            (y, se), (law, law_se), (mean, mean_se) = (
                (getattr(runs, quantity), getattr(runs, f"{quantity}_se")) for runs in (far, near, dense)
            )
            expected = getattr(theory, quantity)
            z = (y - expected) / se
            dense_z = (mean - law) / np.hypot(mean_se, law_se)
            agrees = "agrees" if se <= PRECISION * abs(y) else "imprecise"
            rows.append(
                {
                    "rule": repr(cell.rule),
                    "rho": cell.rho,
                    "phi": cell.phi,
                    "lam": cell.lam,
                    "quantity": quantity,
                    "theory": expected,
                    "simulation": y,
                    "se": se,
                    "z": z,
                    "dense": mean,
                    "dense_se": mean_se,
                    "dense_z": dense_z,
                    "level": level,
                    "d": d,
                    "dense_d": dense_d,
                    "verdict": agrees if max(abs(z), abs(dense_z)) < level else "DISAGREES",
                }
            )
        advance(1)
    return pd.DataFrame(rows)
