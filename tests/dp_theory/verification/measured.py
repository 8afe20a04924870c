"""Errors predicted from the measured law of rows that are not normal, held against the experiment on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dp_theory.rules import KeepEasy, KeepHard
from dp_theory.validity.check import measured_errors
from dp_theory.validity.features import Features
from dp_theory.validity.second_moments import KeptMoments
from dp_theory.validity.view import FeatureView

if TYPE_CHECKING:
    import pandas as pd

DIMENSION = 120
ROWS = 12_000
KEPT = 240
LAM = 0.05
CELLS = {  # rows, selector, rule
    "signs, dense selector, keep-hard": ("signs", "dense", KeepHard(0.5)),
    "signs, sparse selector, keep-hard": ("signs", "sparse", KeepHard(0.5)),
    "signs, sparse selector, keep-easy": ("signs", "sparse", KeepEasy(0.5)),
    "rows of two lengths, keep-hard": ("lengths", "dense", KeepHard(0.5)),
    "two clusters, keep-easy": ("clusters", "dense", KeepEasy(0.5)),
}


def example(kind: str, selector: str, seed: int) -> Features:
    """Rows of random signs, normal ones of two lengths, or two clusters, with labels by a dense direction (clusters:
    their own labels). selector: dense, near that direction, or the mean of three columns, unequally weighted."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(DIMENSION) / np.sqrt(DIMENSION)
    near = truth + 0.6 * rng.standard_normal(DIMENSION) / np.sqrt(DIMENSION)
    few = np.append([1.0, 0.7, 0.5], np.zeros(DIMENSION - 3))
    x = rng.choice([-1.0, 1.0], (ROWS, DIMENSION)) if kind == "signs" else rng.standard_normal((ROWS, DIMENSION))
    if kind == "lengths":
        x *= np.sqrt(rng.choice([0.3, 1.7], (ROWS, 1)))
    y = np.where(x @ (truth + 0.5 * few) > 0, 1.0, -1.0)
    if kind == "clusters":
        y = rng.choice([-1.0, 1.0], ROWS)
        x += 1.5 * y[:, None] * truth
    return Features(x, y, near if selector == "dense" else few)


def measured_laws(trials: int = 12, *, seed: int = 0) -> pd.DataFrame:
    """A row for each of CELLS: cell, quantity (test_error), theory, simulation, se, z, trials."""
    import pandas as pd

    rows = []
    seeds = np.random.SeedSequence(seed).generate_state(len(CELLS)).tolist()
    for cell_seed, (name, (kind, selector, rule)) in zip(seeds, CELLS.items(), strict=True):
        view = FeatureView.of(example(kind, selector, cell_seed), LAM)
        errors = measured_errors(view, rule, [KEPT], LAM, trials, cell_seed)
        theory = KeptMoments(view, rule).error(KEPT, LAM)
        mean = float(errors.mean())
        se = float(errors.std(ddof=1) / np.sqrt(trials))
        cell = {"cell": name, "quantity": "test_error", "theory": theory, "simulation": mean, "se": se}
        rows.append(cell | {"z": (mean - theory) / se, "trials": trials})
    return pd.DataFrame(rows)
