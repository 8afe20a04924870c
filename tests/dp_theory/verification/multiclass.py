"""Softmax regression with K classes held against the experiment."""

from __future__ import annotations

from typing import Any

import numpy as np

from dp_theory.api import predict, simulate
from dp_theory.multiclass import SoftmaxProblem, make_selection


def softmax_cells() -> dict[str, SoftmaxProblem]:
    """Named problems that between them use every selection of dp_theory.multiclass."""
    hard = make_selection("keep-hard", 3, keep=0.4)
    easy = make_selection("keep-easy", 10, keep=0.5, by="margin")
    tilted = make_selection("entropy", 5, keep=0.5, kappa=2.0)
    return {
        "3 classes, keep-hard": SoftmaxProblem(3, hard, 0.8, 0.25, 0.01),
        "10 classes, keep-easy, margin": SoftmaxProblem(10, easy, -0.5, 0.3, 0.05),
        "5 classes, entropy": SoftmaxProblem(5, tilted, 0.9, 0.3, 0.02),
        "10 classes, random": SoftmaxProblem(10, make_selection("random", 10, keep=0.5), 0.0, 0.25, 0.02),
    }


def softmax_rows(problem: SoftmaxProblem, d: int, trials: int, seed: int, workers: int | None) -> list[dict[str, Any]]:
    """Keys quantity, theory, simulated, se, z of the four outputs; se is that of the difference."""
    theory = predict(problem)
    runs = simulate(problem, d, trials, seed=seed, workers=workers)
    rows = []
    for quantity in ("test_error", "cross_entropy", "overlap", "squared_norm"):
        limit = float(getattr(theory, quantity))
        mean = float(getattr(runs, quantity))
        se = float(np.hypot(getattr(theory, f"{quantity}_se"), getattr(runs, f"{quantity}_se")))
        rows.append({"quantity": quantity, "theory": limit, "simulated": mean, "se": se, "z": (mean - limit) / se})
    return rows
