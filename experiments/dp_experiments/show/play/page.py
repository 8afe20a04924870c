"""One HTML file, which checks its own formula against dp_theory when it is opened."""

import json
from typing import Any

import numpy as np
import pandas as pd

from dp_experiments.terminal.lines import records
from dp_experiments.terminal.pages import rendered
from dp_theory import Direct, KeepEasy, KeepHard, Problem, predict

RULES = {"hard": KeepHard, "easy": KeepEasy}
CHECKED = 200
"""Random points of each rule at which the page compares its own Theorem 1 with the errors written here."""


def checks() -> list[dict[str, Any]]:
    """Points within the sliders' ranges, with dp_theory's errors; lam is per training row, rows per dimension."""
    draw = np.random.default_rng(0)

    def spread(low: float, high: float) -> np.ndarray:
        return _rounded(np.exp(draw.uniform(np.log(low), np.log(high), CHECKED)))

    points = []
    for name, rule in RULES.items():
        alpha = spread(0.1, 2.5)
        rho = _rounded(np.cos(np.radians(draw.uniform(2, 80, CHECKED))))
        lam = spread(1e-4, 10)
        rows = spread(0.2, 200)
        error = predict(Problem(Direct(rule(alpha)), rho=rho, phi=1 / rows, lam=lam)).test_error
        columns = {"rule": name, "alpha": alpha, "rho": rho, "lam": lam, "rows": rows, "error": _rounded(error)}
        points += records(pd.DataFrame(columns))
    return points


def _rounded(values: np.ndarray) -> np.ndarray:
    """To ten significant digits: on these all processors agree."""
    return np.array([float(f"{value:.10g}") for value in values])


def page() -> str:
    """Return the HTML."""
    return rendered("dp_experiments.show.play", "page.html.jinja", checks=json.dumps(checks()))
