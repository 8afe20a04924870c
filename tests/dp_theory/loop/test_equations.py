"""The loop stage by stage keeps what the equations of its page, written anew for all stages at once, say it does."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from dp_theory import Addition, KeepHard, PracticeProblem
from dp_theory.loop.square import OrderParameters, solve_loop
from tests.dp_theory.loop.loops import R11, R13, R15
from tests.dp_theory.verification.beyond import interpolating


class Means(NamedTuple):
    """(T3.6), over all rows."""

    gamma: np.ndarray
    ff: np.ndarray
    fg: np.ndarray


def square_forces(cohorts, parameters):
    """(T3.16) and (T3.17) for the square loss."""
    a, c, x = parameters[0][:, 0], *parameters[1:]
    total = Means(np.zeros(c.shape), np.zeros(c.shape), np.zeros(a.shape))
    for cohort in cohorts:
        i = slice(cohort.first, cohort.last)
        view, noise, _ = cohort.scores(parameters)
        for weight, moments in zip(cohort.weight, cohort.moments, strict=True):
            mass, linear, second = moments[0, 0], moments[0, 1:], moments[1:, 1:]
            b = weight * np.linalg.inv(np.eye(len(view)) + weight * x[i, i])
            pull = b.sum(axis=1)
            slopes = b @ view
            cross = np.outer(pull, slopes @ linear)
            total.ff[i, i] += mass * (np.outer(pull, pull) + b @ noise @ b.T) - cross - cross.T
            total.ff[i, i] += slopes @ second @ slopes.T
            by_coordinate = (np.outer(pull, linear) - slopes @ second) @ cohort.frame.T
            total.fg[i] += by_coordinate[:, 0]
            total.gamma[i, i] += mass * b
            if (k := cohort.selector) is not None:
                total.gamma[i, k] -= by_coordinate[:, 1] / np.sqrt(c[k, k]) + mass * b @ c[i, k] / c[k, k]
    return total


def missed(problem, means, parameters):
    """Right-hand sides of (T3.9), (T3.10) and (T3.11) less a, C and X."""
    cell = problem.cell
    a, c, x = parameters[0][:, 0], *parameters[1:]
    a_off, c_off, x_off = -a, -c - np.outer(a, a), -x
    b = means.fg + means.gamma @ a
    for e, v in zip(cell.eigenvalues, cell.basis[:, 0], strict=True):
        m = e * np.linalg.inv(np.diag(cell.ridges) + e * means.gamma)
        share = cell.phi / len(cell.eigenvalues)
        a_off = a_off + v**2 * m @ b
        c_off = c_off + v**2 * np.outer(m @ b, m @ b) + share * m @ means.ff @ m.T
        x_off = x_off + share * m
    return OrderParameters(a_off[:, None], c_off, x_off)


SPECTRUM = np.linspace(0.2, 3, 7)
UNLIKE = PracticeProblem(
    0.5,
    [0.02, 0.1, 0.05, 0.02],
    [Addition(1, keep=KeepHard(0.4)), Addition(2, weight=interpolating(1, 3.0)), Addition(1, keep=KeepHard(1.0))],
    flip=0.05,
    spectrum=SPECTRUM,
    labeller=1 / SPECTRUM,
)


@pytest.mark.parametrize("problem", [R11, R13, R15, UNLIKE])
@pytest.mark.parametrize("accumulate", [True, False])
def test_each_stage_extends_the_equations_of_all(problem, accumulate):
    """What belongs to earlier stages is kept; the equations of all stages are met all the same, and nothing drifts."""
    problem = replace(problem, accumulate=accumulate)
    loop = solve_loop(problem)
    assert np.all(loop.residual < 1e-13)
    means = square_forces(loop.cohorts, loop.orders)
    np.testing.assert_allclose(loop.ff, means.ff, rtol=0, atol=1e-12 * np.abs(means.ff).max())
    for off, parameter in zip(missed(problem, means, loop.orders), loop.orders, strict=True):
        np.testing.assert_allclose(off, 0, atol=1e-10 * np.abs(parameter).max())
