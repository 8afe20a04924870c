"""Practice under convex losses: the square loss gives the known loop, one stage the span recipe, λ → 0 the margin."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from dp_base.errors import ConvergenceError, InputError
from dp_theory import HINGE, LOGISTIC, SQUARED_HINGE, predict, simulate
from dp_theory.budgets.exponents import scaling
from dp_theory.loop import (
    Addition,
    Group,
    PracticeProblem,
    SpanProblem,
    Window,
    prediction,
    row_errors,
)
from dp_theory.loop.experiment import fit_convex, max_margin
from dp_theory.loop.losses import HARD_MARGIN, Loss
from dp_theory.loop.placed import Cohort, PlacedRows, kept_rows, view_of_labeller
from dp_theory.loop.points import draw_points
from dp_theory.loop.prediction import ORDER, solve_stages
from dp_theory.rules import Entropy, KeepEasy, KeepHard
from tests.dp_theory.agreement import largest_z
from tests.dp_theory.loop.loops import R11, UNNAMED_SQUARE
from tests.dp_theory.verification.beyond import loops

PLANE = (1.0, 0.0)
HARD_ROUND = Addition(2, keep=KeepHard(0.3))


@pytest.mark.parametrize(
    "name",
    ["keep-hard", "self-verification, flips", "verifier, labeller, flips", "newest rows", "power law", "window"],
)
def test_the_search_finds_the_loop_with_the_square_loss(name: str):
    """Its control is the square loss then, so that points do not matter."""
    problem = loops()[name]
    expected = predict(problem)
    found = solve_stages(replace(problem, loss=UNNAMED_SQUARE), size=2**11)
    for ours, theirs in zip(
        (found.loop.parameters.a[:, 0], found.loop.parameters.c, found.loop.parameters.x),
        (expected.alignment, expected.covariance, expected.response),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("flip", [0.0, 0.1])
@pytest.mark.parametrize("loss", [LOGISTIC, SQUARED_HINGE, HINGE], ids=str)
def test_one_stage_is_the_span_recipe(loss, flip):
    loop = solve_stages(PracticeProblem(0.5, 0.02, [Addition(1)], flip=flip, loss=loss), size=2**16)
    expected = predict(SpanProblem(PLANE, [Group(flip=flip)], 0.5, 0.02, loss=loss))
    assert loop.test_error[0] == pytest.approx(float(expected.test_error), rel=5e-5)
    assert loop.overlap[0] == pytest.approx(float(expected.overlap), rel=5e-5)


def test_fresh_data_is_a_recursion_of_the_span_recipe():
    """Every stage on rows that the stage before selected, and on nothing else."""
    rules = (KeepHard(0.4), Entropy(4.0, 2.0))
    loop = PracticeProblem(0.2, 0.01, [Addition(3, keep=rule) for rule in rules], accumulate=False, loss=LOGISTIC)
    answer = solve_stages(loop)
    for stage, rule in enumerate(rules, 1):
        before = np.pi * answer.test_error[stage - 1]
        group = Group(3.0, along=(np.cos(before), np.sin(before)), keep=rule)
        expected = predict(SpanProblem(PLANE, [group], 0.2, 0.01, loss=LOGISTIC)).test_error
        assert answer.test_error[stage] == pytest.approx(float(expected), rel=1e-3)


def test_points_are_the_kept_rows():
    """Their moments, against those that rules know."""
    rows = Addition(1.0, keep=KeepHard(0.7))
    cosine = 0.8
    placed = PlacedRows(rows, 0.1, *view_of_labeller(cosine))
    cohort = Cohort.of(placed, kept_rows(placed, ORDER), 0, 1, 3)
    points = draw_points(cohort, placed, 2**13, np.random.default_rng(0))
    mass = points.mass[:, -1]
    assert np.abs(points.view[:, 0]).max() <= 0.7
    np.testing.assert_allclose((mass * points.y) @ points.view, cohort.kept.linear[0], rtol=2e-3)
    np.testing.assert_allclose((mass[:, None] * points.view).T @ points.view, cohort.kept.second[0], atol=2e-3)
    np.testing.assert_allclose((mass[:, None] * points.normals).T @ points.normals, mass.sum() * np.eye(2), atol=5e-3)


# -- the max-margin limit ---------------------------------------------------------------------------------------------


def test_experiments_that_keep_no_row_learn_nothing():
    """scipy's non-negative least squares would break off the whole process."""
    assert np.array_equal(fit_convex(np.zeros((0, 3)), np.zeros(0), np.zeros(0), 0.0, LOGISTIC), np.zeros(3))


def test_ridge_to_zero_is_the_max_margin_solution():
    """The squared hinge gets there in proportion to λ; the logistic loss shares its limit."""
    loop = PracticeProblem(0.5, 0.0, [HARD_ROUND], loss=SQUARED_HINGE)
    limit = solve_stages(loop, size=2**11)
    for lam, off in ((1e-3, 3e-2), (1e-5, 3e-4), (1e-7, 3e-6)):
        np.testing.assert_allclose(
            solve_stages(replace(loop, lam=lam), size=2**11).test_error, limit.test_error, rtol=off
        )
    logistic = replace(loop, loss=LOGISTIC)
    answer = predict(logistic)
    np.testing.assert_allclose(answer.test_error, limit.test_error, rtol=1e-2)
    assert np.all(np.isinf(answer.squared_norm))
    assert np.all(np.isinf(answer.overlap))
    far, near = (solve_stages(replace(logistic, lam=lam), size=2**11).test_error for lam in (1e-3, 1e-8))
    assert np.all(np.abs(near / limit.test_error - 1) < np.abs(far / limit.test_error - 1))


def test_separable_rows_in_the_span_recipe():
    problem = SpanProblem(PLANE, [Group(along=(0.8, 0.6), keep=KeepHard(0.5))], 0.3, 0.0, loss=SQUARED_HINGE)
    limit = predict(problem)
    assert np.isinf(limit.squared_norm)
    assert np.isinf(limit.overlap)
    assert predict(replace(problem, lam=1e-8)).test_error == pytest.approx(float(limit.test_error), rel=1e-7)
    assert predict(replace(problem, loss=LOGISTIC)).test_error == limit.test_error
    far, near = (float(predict(replace(problem, loss=LOGISTIC, lam=lam)).test_error) for lam in (1e-5, 1e-8))
    assert abs(far - limit.test_error) > abs(near - limit.test_error)  # as slowly as 1/ln(1/λ)


def test_widest_margin_against_another_solver():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 25))
    y = np.sign(x[:, 0])
    ours = max_margin(x, y)
    assert ours is not None
    beyond_margin = {"type": "ineq", "fun": lambda w: y * (x @ w) - 1, "jac": lambda w: y[:, None] * x}
    start = ours + 0.1
    other = minimize(lambda w: w @ w / 2, start, jac=lambda w: w, method="SLSQP", constraints=beyond_margin)
    np.testing.assert_allclose(ours, other.x, atol=1e-5)
    assert max_margin(np.vstack([x, x[:1]]), np.append(y, -y[0])) is None


@pytest.mark.slow
def test_two_rounds_at_no_ridge_meet_the_default_tolerance():
    """Their points once missed it: the slope of the max-margin force jumped from point to point."""
    loop = PracticeProblem(0.4, 0.0, [Addition(candidates=1.5, keep=KeepHard(0.6))] * 3, loss=LOGISTIC)
    answer = predict(loop)
    assert answer.certificate.max() < 5e-3
    runs = simulate(loop, 150, 24, seed=1)
    assert np.abs((runs.test_error - answer.test_error) / runs.test_error_se).max() < 4


def test_points_that_miss_the_default_tolerance_say_what_they_reached(monkeypatch):
    monkeypatch.setattr(prediction, "SIZES", (2**7, 2**8))
    loop = PracticeProblem(0.4, 0.0, [Addition(candidates=1.5, keep=KeepHard(0.6))] * 3, loss=LOGISTIC)
    assert 5e-3 < predict(loop).certificate.max() < 1
    with pytest.raises(ConvergenceError, match="256 points still change the result"):
        predict(loop, tolerance=5e-3)


def test_means_of_forces_are_those_of_draws():
    score = np.array([-2.0, 0.3, 1.5])
    y = np.array([1.0, -1.0, 1.0])
    for loss in (SQUARED_HINGE, HINGE, HARD_MARGIN):
        known = loss.mean_answer(score, 0.7, y, np.array([2.0]), 0.4)
        u = score + 0.7 * np.random.default_rng(0).standard_normal((400_000, 1))
        force, bend = loss.answer(u, y, np.array([2.0]), 0.4)
        for ours, drawn in zip(known, (force, force**2, bend), strict=True):
            np.testing.assert_allclose(ours, drawn.mean(axis=0), rtol=0.01, atol=0.01)
        for ours, nodes in zip(known, Loss.mean_answer(loss, score, 0.7, y, np.array([2.0]), 0.4), strict=True):
            np.testing.assert_allclose(ours, nodes, rtol=0.1, atol=0.1)


# -- the experiment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [R11, replace(R11, lam=0.0)], ids=["ridge", "margin"])
def test_experiment(problem):
    problem = replace(problem, additions=[HARD_ROUND], loss=LOGISTIC)
    answer = predict(problem)
    runs = simulate(problem, 80, 12)
    assert np.abs((runs.test_error - answer.test_error) / runs.test_error_se).max() < 4


@pytest.mark.slow
def test_loops_that_were_once_not_found():
    """Eight windows that narrow under the logistic loss, and hardly any ridge with few rows."""
    windows = PracticeProblem(0.25, 1e-3, [Window(1)] * 8, loss=LOGISTIC)
    errors = solve_stages(windows, size=2**13).test_error
    assert np.all(np.diff(errors) < 0)
    assert errors[-1] == pytest.approx(0.001617, rel=1e-2)
    few = PracticeProblem(0.045, 3e-4, [Addition(2, keep=KeepHard(0.5))] * 4, loss=LOGISTIC)
    assert np.all(np.diff(solve_stages(few, size=2**12).test_error) < 0)


def test_the_hinge_against_the_experiment():
    rounds = [Addition(1, keep=KeepHard(0.5)), Addition(1, keep=KeepEasy(0.5))]
    problem = PracticeProblem(0.5, 0.05, rounds, flip=0.05, loss=HINGE)
    answer = predict(problem)
    assert answer.certificate.max() < 5e-3
    assert largest_z(simulate(problem, 80, 12), answer) < 4


def test_support_vectors_are_those_of_another_solver():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((60, 8))
    y = np.sign(x[:, 0] + rng.standard_normal(60))
    q = rng.uniform(0.5, 1.5, 60) / 60
    ours = fit_convex(x, y, q, 0.1, HINGE)
    slack = np.eye(60)
    bound = {
        "type": "ineq",
        "fun": lambda v: y * (x @ v[:8]) + v[8:] - 1,
        "jac": lambda v: np.hstack([y[:, None] * x, slack]),
    }
    other = minimize(
        lambda v: 0.05 * v[:8] @ v[:8] + q @ v[8:],
        np.append(ours, np.ones(60)),
        jac=lambda v: np.append(0.1 * v[:8], q),
        method="SLSQP",
        bounds=[(None, None)] * 8 + [(0, None)] * 60,
        constraints=bound,
        options={"maxiter": 500, "ftol": 1e-12},
    )
    np.testing.assert_allclose(ours, other.x[:8], atol=2e-3)
    with pytest.raises(InputError, match="the hinge needs lam > 0"):
        fit_convex(x, y, q, 0.0, HINGE)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_refusals():
    loop = replace(R11, loss=LOGISTIC)
    with pytest.raises(InputError, match="memory"):
        predict(replace(loop, additions=[HARD_ROUND] * 20))
    with pytest.raises(InputError, match="square loss"):
        scaling(replace(loop, additions=[HARD_ROUND] * 4))
    with pytest.raises(InputError, match="square loss"):
        row_errors(predict(replace(loop, additions=[HARD_ROUND])), 0)


def test_a_solution_that_is_not_found_is_reported():
    """Easy rows are about to be separable; one Jacobian on the way is singular."""
    loop = PracticeProblem(0.25, 0.003, [Addition(kept=1.0, keep=KeepEasy(1.0))] * 2, loss=LOGISTIC)
    with pytest.raises(ConvergenceError, match=r"miss their equations by .*; give a larger lam"):
        predict(loop)
