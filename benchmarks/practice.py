"""The practice loop's theory against one simulated run and against damped iteration.

In damped iteration each stage moves half way to the right-hand sides of its equations until they hold to 1e-9; it is
given the thresholds, and shorter loops than ours.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _timing import row, seconds

from dp_theory import PracticeProblem, Window, predict, simulate
from dp_theory.loop.equations import Newest, newest_forces
from dp_theory.loop.placed import Cohort, PlacedRows, kept_rows
from dp_theory.loop.prediction import ORDER, solve_stages
from dp_theory.loop.problems import Cell
from dp_theory.loop.stages import SQUARE_CONTROL, Loop, StageEquations

ROUNDS = 5  # of the damped iteration: eight take it a minute


def damped(cell: Cell, additions: list) -> np.ndarray:
    loop = Loop.of(cell)
    errors = []
    for s in range(cell.stages):
        before = loop.parameters
        (placed,) = cell.initial
        if s:
            placed = PlacedRows(additions[s - 1], cell.flip, np.array([1.0, 0.0]), before.selector()[None])
        cohort = Cohort.of(placed, kept_rows(placed, ORDER), s - 1 if s else None, s, cell.stages)
        equations = StageEquations(loop.with_rows([cohort]), cell.loss, float(cell.ridges[s]))
        a, c, x = (before.a[-1, 0], before.c[-1], before.x[-1]) if s else (0.5, np.zeros(0), np.zeros(0))
        vector = np.concatenate([[a], c, [c[-1] if s else 1.0], np.zeros(s), [x[-1] if s else 0.3]])
        off = np.ones(1)
        while np.abs(off).max() > 1e-9:
            newest = Newest.of(vector, s + 1)
            missed = equations.off(newest, newest_forces(equations.loop.cohorts, newest, SQUARE_CONTROL)[1])
            off = equations.relative(missed, newest)
            vector = vector + missed / 2
        loop = equations.loop.extended(Newest.of(vector, s + 1), cell.loss, equations.lam, SQUARE_CONTROL)
        errors.append(loop.outcome()[0])
    return np.array(errors)


def main() -> None:
    loop = PracticeProblem(0.25, 1e-6, [Window(1, power=2)] * 8)
    prediction, runs = predict(loop), []
    (theory,) = seconds(lambda: predict(loop))
    (both,) = seconds(lambda: runs.append(simulate(loop, 1000, 2)), repeats=1)
    run = (both - theory) / 2  # simulate first computes the thresholds from the theory
    print(f"practice loop, 8 rounds, accumulated pool: theory {theory:.3f} s (aim: 2 s)")
    print(f"  rival, one run at d = 1000: {run:.1f} s; ratio {run / theory:.0f}x")
    row("practice theory, 8 rounds, 2 s", f"{theory:.3f} s", f"a run at d = 1000 {run:.1f} s", run / theory)
    short = PracticeProblem(0.25, 1e-6, [Window(1, power=2)] * ROUNDS)
    solved = solve_stages(short)
    errors = []
    (ours,) = seconds(lambda: predict(short))
    (iterated,) = seconds(lambda: errors.append(damped(next(short.cells()), solved.additions)), repeats=1)
    np.testing.assert_allclose(errors[0], solved.test_error, rtol=1e-5)
    print(
        f"  rival, damped iteration, {ROUNDS} rounds: {iterated:.1f} s, ours {ours:.3f} s; ratio {iterated / ours:.0f}x"
    )
    row(f"practice theory, {ROUNDS} rounds", f"{ours:.3f} s", f"damped iteration {iterated:.1f} s", iterated / ours)
    print(f"  last test error {prediction.test_error[-1]:.6f}; two runs' mean {runs[0].test_error[-1]:.6f}")


if __name__ == "__main__":
    main()
