"""The loop stage by stage: what is kept of rows and learners is what the equations say of all stages at once."""

from dataclasses import replace

import numpy as np
import pytest

from dp_theory import KeepHard
from dp_theory.loop import Addition, Interpolating, PracticeProblem
from dp_theory.loop.placed import Cohort, PlacedRows, kept_rows
from dp_theory.loop.stages import Loop
from tests.dp_theory.loop.anew import missed, square_forces
from tests.dp_theory.loop.loops import R11, R13, R15

SPECTRUM = np.linspace(0.2, 3, 7)
UNLIKE = PracticeProblem(
    0.5,
    [0.02, 0.1, 0.05, 0.02],
    [Addition(1, keep=KeepHard(0.4)), Addition(2, weight=Interpolating(1, 3.0)), Addition(1, keep=KeepHard(1.0))],
    flip=0.05,
    spectrum=SPECTRUM,
    labeller=1 / SPECTRUM,
)


@pytest.mark.parametrize("problem", [R11, R13, R15, UNLIKE], ids=["R11", "R13", "R15", "unlike"])
@pytest.mark.parametrize("accumulate", [True, False])
def test_each_stage_extends_the_equations_of_all(problem: PracticeProblem, accumulate: bool):
    """What belongs to earlier stages is kept; the equations of all stages are met all the same, and nothing drifts."""
    problem = replace(problem, accumulate=accumulate)
    (cell,) = problem.cells()
    loop = Loop.of(cell)
    for stage in range(problem.stages):
        if stage:
            plan = problem.additions[stage - 1]
            rows = plan(loop.outcome()[0]) if callable(plan) else plan
            placed = PlacedRows(rows, problem.flip, np.array([1.0, 0.0]), loop.parameters.selector()[None])
        else:
            (placed,) = cell.initial
        selector = stage - 1 if stage else None
        cohort = Cohort.of(placed, kept_rows(placed, 24), selector, stage, cell.last_stage(stage))
        loop, residual = loop.with_rows([cohort]).next_stage()
        assert residual < 1e-13
    means = square_forces([rows.cohort for rows in loop.cohorts], loop.parameters)
    np.testing.assert_allclose(loop.ff, means.ff, rtol=0, atol=1e-12 * np.abs(means.ff).max())
    for off, parameter in zip(missed(problem, means, loop.parameters), loop.parameters, strict=True):
        np.testing.assert_allclose(off, 0, atol=1e-10 * np.abs(parameter).max())
