"""Convex losses: the square loss gives what is known of it; other solvers and the experiment agree."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq
from scipy.special import expit

from dp_theory import LOGISTIC, ConvergenceError, KeepEasy, KeepHard, predict, simulate
from dp_theory.loop import Addition, PracticeProblem, Window, square
from dp_theory.loop.experiment import fit_convex
from dp_theory.loop.losses import prediction
from dp_theory.loop.losses.prediction import solve_cell_over
from tests.dp_theory.agreement import largest_z, outputs
from tests.dp_theory.loop.loops import R11, UNNAMED_SQUARE, selected, weighted_window
from tests.dp_theory.verification.beyond import feature_cells, loops

HARD_ROUND = Addition(2, keep=KeepHard(0.3))


# -- what is known ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["keep-easy, more columns than rows", "labeller, flips, label-aware", "power law 1, keep-easy"]
)
def test_the_square_loss_by_its_prox_is_the_span_recipe(name):
    problem = feature_cells(50)[name]
    convex = predict(replace(problem, loss=UNNAMED_SQUARE), tolerance=1e-11)
    assert_allclose(outputs(convex), outputs(predict(problem)), rtol=1e-10)


@pytest.mark.parametrize("name", ["verifier, labeller, flips", "newest rows", "power law"])
def test_the_search_finds_the_loop_with_the_square_loss(name):
    problem = loops()[name]
    found = solve_cell_over(replace(problem, loss=UNNAMED_SQUARE).cell, 2**15).orders
    for ours, theirs in zip(found, square.solve_loop(problem).orders, strict=True):
        assert_allclose(ours, theirs, rtol=0, atol=5e-4 * np.abs(theirs).max())


def test_reference_value():
    assert predict(selected(1.0, 0.5, 0.05, LOGISTIC)).test_error == pytest.approx(0.179662, abs=5e-7)


def test_an_order_without_a_solution_is_not_the_last():
    """At order 4 the quadrature of a selector that is the truth has none; the higher ones do."""
    found = predict(selected(1.0, 0.05, 0.0005, LOGISTIC, keep=KeepHard.with_keep_fraction(0.3)))
    assert found.overlap == pytest.approx(10.3121, abs=5e-5)
    assert found.squared_norm - found.overlap**2 == pytest.approx(0.8933, abs=5e-4)


# -- forces and points ------------------------------------------------------------------------------------------------


def test_logistic_prox_against_a_bracketing_solver():
    rng = np.random.default_rng(0)
    score, strength = 30 * rng.standard_normal(200), 10 ** rng.uniform(-6, 8, 200)
    y = np.where(rng.random(200) < 0.5, 1.0, -1.0)
    for s, label, k, ours in zip(score, y, strength, LOGISTIC.prox(score, y, strength), strict=True):
        expected = brentq(
            lambda x, s, y, k: x - k * y * expit(-y * x) - s, s - k, s + k, (s, label, k), xtol=1e-13, rtol=1e-14
        )
        assert ours == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_points_that_miss_the_default_tolerance_are_refused(patch):
    patch(prediction, "SIZES", (2**7, 2**8))
    loop = PracticeProblem(0.4, 0.01, [Addition(candidates=1.5, keep=KeepHard(0.6))], loss=LOGISTIC)
    assert 5e-3 < predict(loop, tolerance=1.0).certificate.max() < 1
    with pytest.raises(ConvergenceError, match="256 points still change the result"):
        predict(loop)


# -- without ridge ----------------------------------------------------------------------------------------------------


def test_ridgeless_on_rows_that_are_not_separable_and_on_such_that_are():
    noisy = selected(1.0, 0.1, loss=LOGISTIC, flip=0.2)
    assert_allclose(outputs(predict(noisy)), outputs(predict(replace(noisy, lam=1e-7))), rtol=1e-4)
    with pytest.raises(ConvergenceError, match=r"there is one at lam = 1e-06\. Without ridge there is none"):
        predict(replace(noisy, phi=0.8))


@pytest.mark.slow
def test_loops_that_were_once_not_found():
    """Windows that narrow, hardly any ridge with few rows, and a learner that hardly moves."""
    windows = PracticeProblem(0.25, 1e-3, [Window(1)] * 8, loss=LOGISTIC)
    errors = solve_cell_over(windows.cell, 2**13).test_error
    assert np.all(np.diff(errors) < 0)
    assert errors[-1] == pytest.approx(0.001617, rel=1e-2)
    few = PracticeProblem(0.045, 3e-4, [Addition(2, keep=KeepHard(0.5))] * 4, loss=LOGISTIC)
    assert np.all(np.diff(solve_cell_over(few.cell, 2**12).test_error) < 0)
    near = PracticeProblem(0.07, 2e-3, [weighted_window(1.3, 1.8), Addition(kept=0.5, weight=0.5)], loss=LOGISTIC)
    assert predict(near).test_error[-1] == pytest.approx(0.00462, rel=1e-2)


@pytest.mark.slow
def test_forty_rounds_are_solved():
    """A row's slopes by its scores would take 25 times the memory of its bends."""
    windows = PracticeProblem(0.3, 0.01, [Window(1)] * 40, loss=LOGISTIC)
    found = solve_cell_over(windows.cell, 2**11)
    assert np.all(np.diff(found.test_error[::20]) < 0)
    assert found.residual.max() < 1e-9


# -- the experiment, and its fits against other solvers ---------------------------------------------------------------


@pytest.mark.parametrize(
    "problem",
    [
        replace(R11, additions=[HARD_ROUND], loss=LOGISTIC),
        PracticeProblem(0.5, 0.05, [HARD_ROUND, Addition(1, keep=KeepEasy(0.5))], flip=0.05, loss=LOGISTIC),
    ],
)
def test_loops_against_the_experiment(problem):
    runs = simulate(problem, 80, 12)
    assert largest_z(runs, solve_cell_over(problem.cell), ["test_error"]) < 4


def test_experiments_that_keep_no_row_learn_nothing():
    assert np.array_equal(fit_convex(np.zeros((0, 3)), np.zeros(0), np.zeros(0), 0.0, LOGISTIC), np.zeros(3))


def test_a_solution_that_is_not_found_is_reported(patch):
    patch(prediction, "fixed_point", lambda move, start, *others: (start, 1.0))
    with pytest.raises(ConvergenceError, match=r"equations are missed by .*; give a much larger lam"):
        predict(PracticeProblem(0.25, 0.003, [HARD_ROUND], loss=LOGISTIC))


def test_a_residual_that_does_not_matter_is_in_the_certificate(patch):
    solve = prediction.fixed_point

    def hardly(*asked):
        found, miss = solve(*asked)
        return found, max(miss, 3e-4)

    patch(prediction, "fixed_point", hardly)
    patch(prediction, "MISSED", 1e-3)
    found = predict(PracticeProblem(0.25, 0.3, loss=LOGISTIC, additions=[HARD_ROUND]), tolerance=0.1)
    assert found.certificate.min() >= 1.2e-3
