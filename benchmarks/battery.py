"""Loops with the logistic loss, drawn at random: how many are solved or refused, in how long, and how far they are off.

    python benchmarks/battery.py [NUMBER]

Ridges down to 1e-4, phi from .01 to 4, up to 8 rounds, with 2,048 points a cohort. 40 problems take a minute or two.
"""

import sys

import numpy as np
from _timing import row, seconds

from dp_base.errors import ConvergenceError
from dp_theory import (
    LOGISTIC,
    Addition,
    Agree,
    Entropy,
    KeepEasy,
    KeepHard,
    PracticeProblem,
    Window,
)
from dp_theory.loop.losses.prediction import solve_cell_over

SEED = 57
POINTS = 2**11


def drawn(rng: np.random.Generator) -> PracticeProblem:
    scale = float(10 ** rng.uniform(-0.5, 0.4))
    keeps = [KeepHard(scale), KeepEasy(scale / 2), Entropy(scale * 4), Agree()]
    plans = [Window(scale), *(Addition(kept=float(rng.uniform(0.3, 2)), keep=keep) for keep in keeps)]
    return PracticeProblem(
        phi=float(10 ** rng.uniform(-2, 0.6)),
        lam=float(10 ** rng.uniform(-4, 0)),
        additions=[plans[rng.integers(len(plans))]] * int(rng.integers(1, 9)),
        accumulate=bool(rng.random() < 0.8),
        flip=float(rng.choice([0.0, 0.05, 0.2])),
        loss=LOGISTIC,
    )


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    residuals: list[float] = []
    refused: list[str] = []

    def solve_all() -> None:
        rng = np.random.default_rng(SEED)
        for _ in range(number):
            problem = drawn(rng)
            try:
                residuals.append(float(solve_cell_over(problem.cell, POINTS).residual.max()))
            except ConvergenceError as error:
                refused.append(str(error))

    (elapsed,) = seconds(solve_all, repeats=1)
    row("battery of loops", f"{len(residuals)} of {number} solved", f"{elapsed:.0f} s", len(residuals) / number)
    print(f"  {max(residuals):.1e} missed; refused:", *refused, sep="\n  ")


if __name__ == "__main__":
    main()
