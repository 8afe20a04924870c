"""The square loss: what is kept of rows from stage to stage is what the equations say of all stages at once."""

import numpy as np
import pytest

from dp_theory import KeepHard
from dp_theory.practice import Addition, PracticeProblem
from dp_theory.practice.cohorts import make_cohort
from dp_theory.practice.dmft import Forces, Quadratics, linear_forces, residuals
from dp_theory.practice.square_loop import SquareLoop
from dp_theory.span import Interpolating
from tests.dp_theory.practice.loops import R11, R13, R15

SPECTRUM = np.linspace(0.2, 3, 7)
UNLIKE = PracticeProblem(
    0.5,
    [0.02, 0.1, 0.05, 0.02],
    [Addition(1, keep=KeepHard(0.4)), Addition(2, weight=Interpolating(1, 3.0)), Addition(1, keep=KeepHard(1.0))],
    flip=0.05,
    spectrum=SPECTRUM,
    labeller=1 / SPECTRUM,
)


@pytest.mark.parametrize("problem", [R11, R15, UNLIKE], ids=["R11", "R15", "unlike"])
@pytest.mark.parametrize("accumulate", [True, False])
def test_each_stage_extends_the_forces_of_all(problem: PracticeProblem, accumulate: bool):
    """linear_forces inverts the matrices of (T3.16) for all stages anew."""
    loop = SquareLoop.of(problem)
    for stage in range(problem.stages):
        rows = problem.additions[stage - 1] if stage else problem.initial_rows
        assert isinstance(rows, Addition)
        cosine = loop.parameters.cosine() if stage else 1.0
        last = problem.stages if accumulate else stage + 1
        cohort = make_cohort(rows, problem.flip, cosine, stage - 1 if stage else None, stage, last, 24)
        loop, residual = loop.next_stage(cohort)
        assert residual < 1e-13
    cohorts = [rows.cohort for rows in loop.cohorts]
    anew = linear_forces(cohorts, loop.parameters, Quadratics.square(problem.stages))
    for name in Forces._fields:
        want = getattr(anew, name)
        np.testing.assert_allclose(getattr(loop.forces, name), want, rtol=0, atol=1e-13 * np.abs(want).max())
    off = residuals(problem, anew, loop.parameters)
    for missed, parameter in zip(off, loop.parameters, strict=True):
        np.testing.assert_allclose(missed, 0, atol=1e-13 * np.abs(parameter).max())


def test_many_stages_keep_the_equations():
    """Eight rounds with windows that narrow: nothing drifts from stage to stage."""
    loop = SquareLoop.of(R13)
    error = 0.2
    for stage in range(R13.stages):
        plan = R13.additions[stage - 1] if stage else R13.initial_rows
        rows = plan(error) if callable(plan) else plan
        cosine = loop.parameters.cosine() if stage else 1.0
        loop, _ = loop.next_stage(make_cohort(rows, 0.0, cosine, stage - 1 if stage else None, stage, R13.stages, 24))
        error = np.arccos(loop.parameters.cosine()) / np.pi
    anew = linear_forces([rows.cohort for rows in loop.cohorts], loop.parameters, Quadratics.square(R13.stages))
    for missed, parameter in zip(residuals(R13, anew, loop.parameters), loop.parameters, strict=True):
        np.testing.assert_allclose(missed, 0, atol=1e-12 * np.abs(parameter).max())
