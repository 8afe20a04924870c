"""The naive experiment against numpy's own solver and the theory."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

from dp_theory import Direct, Entropy, KeepAll, KeepEasy, KeepHard, Problem, predict, simulate
from dp_theory.ridge.simulators.dense import fit_ridge, measure
from tests.dp_theory.agreement import largest_z, outputs
from tests.refusals import out_of_range, refused


@pytest.mark.parametrize("rows", [0, 5, 30, 80])
@pytest.mark.parametrize("penalty", [0.0, 10.0])
def test_ridge_solves_the_regularised_least_squares_problem(rows, penalty):
    rng = np.random.default_rng(rows)
    x, y = rng.standard_normal((rows, 30)), rng.choice([-1.0, 1.0], rows)
    stacked = np.vstack([x, np.sqrt(penalty) * np.eye(30)])
    want = np.linalg.lstsq(stacked, np.r_[y, np.zeros(30)], rcond=None)[0]
    np.testing.assert_allclose(fit_ridge(x, y, penalty), want, atol=1e-8)


def test_a_learner_may_be_opposite_to_the_truth_or_nothing():
    w0 = np.array([0.6, 0.8])
    assert measure(-3 * w0, w0) == pytest.approx((1.0, -3.0, 9.0))
    assert measure(0 * w0, w0) == (0.5, 0.0, 0.0)


CELLS = [
    Problem(KeepHard(0.8), 0.6, 0.4, 0.01),
    Problem(KeepEasy(0.7), -0.8, 1.5, 0.1),
    Problem(Entropy(6.0), 0.9, 0.3, 0.01),
    Problem(KeepAll(), 0.0, 3.0, 0.0),
    Problem(Direct(KeepHard(0.5)), 0.8, 0.5, 0.01),
]


@pytest.mark.parametrize("problem", CELLS)
def test_simulation_agrees_with_theory_in_standard_errors(problem):
    theory, simulation = predict(problem), simulate(problem, 200, 60)
    assert largest_z(simulation, theory) < stats.t.isf(0.0005 / (2 * 3 * len(CELLS)), 59)
    assert np.all(outputs(simulation, "_se") < 0.03 * outputs(theory))


PLAIN = Problem(KeepAll(), 0.5, 0.5, 0.1)
test_numbers_out_of_range_are_refused = out_of_range(
    (partial(simulate, PLAIN, d=10), {"d": 0, "trials": 0, "seed": -1, "workers": 0}),
    (partial(replace, PLAIN), {"rho": 1.5, "phi": 0.0, "lam": -1.0}),
)
test_bad_sizes_are_named = refused(
    {
        "d = 1 must be at least 2 at rho = 0.5": lambda: simulate(PLAIN, 1, 2),
        "phi = 100 must be below 20 at d = 10": lambda: simulate(Problem(KeepAll(), 0.5, 100.0, 0.1), 10, 2),
    }
)
