"""Convex losses: the square loss gives the span recipe, logistic regression meets other solvers and simulation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from dp_theory import predict, simulate
from dp_theory.loop import HINGE, LOGISTIC, SQUARED_HINGE, Group, SpanProblem, Verifier
from dp_theory.rules import KeepEasy, KeepHard
from tests.dp_theory.agreement import assert_same, largest_z
from tests.dp_theory.loop.loops import UNNAMED_SQUARE
from tests.dp_theory.verification.beyond import feature_cells

PLANE = (1.0, 0.0)
PRUNER = (0.8, 0.6)


def test_reference_value():
    logistic = SpanProblem(PLANE, [Group()], 0.5, 0.05, loss=LOGISTIC)
    assert predict(logistic).test_error == pytest.approx(0.179662, abs=5e-7)


@pytest.mark.parametrize(
    "name",
    [
        "keep-hard",
        "keep-easy, more columns than rows",
        "labeller, flips, label-aware",
        "interpolating, hard",
        "soft verifier",
        "power law 1, keep-easy",
    ],
)
def test_the_square_loss_by_its_prox_is_the_span_recipe(name):
    problem = feature_cells(50)[name]
    assert_same(predict(replace(problem, loss=UNNAMED_SQUARE), tolerance=1e-11), predict(problem), 1e-10)


# -- the prox ---------------------------------------------------------------------------------------------------------


def test_logistic_prox_against_a_bracketing_solver():
    rng = np.random.default_rng(0)
    score, strength = 30 * rng.standard_normal(200), 10 ** rng.uniform(-6, 8, 200)
    y = np.where(rng.random(200) < 0.5, 1.0, -1.0)
    h = LOGISTIC.prox(score, y, strength)
    for s, label, k, ours in zip(score, y, strength, h, strict=True):
        expected = brentq(
            lambda x, s=s, label=label, k=k: x - k * label * expit(-label * x) - s,
            s - k,
            s + k,
            xtol=1e-13,
            rtol=np.float64(1e-14),
        )
        assert ours == pytest.approx(expected, rel=1e-9, abs=1e-9)


# -- logistic regression ----------------------------------------------------------------------------------------------


def test_weights_and_ridge_scale_together():
    group = Group(along=PRUNER, weight=Verifier(2), flip=0.1)
    problem = SpanProblem(PLANE, [group], 0.5, 0.02, loss=LOGISTIC)
    scaled = replace(problem, groups=[replace(group, weight=lambda t, y: 5 * Verifier(2)(t, y))], lam=0.1)
    assert_same(predict(scaled), predict(problem), 1e-8)


def test_ridgeless_on_rows_that_are_not_separable_and_on_such_that_are():
    noisy = SpanProblem(PLANE, [Group(flip=0.2)], 0.1, loss=LOGISTIC)
    assert_same(predict(noisy), predict(replace(noisy, lam=1e-7)), 1e-4)
    separable = predict(replace(noisy, phi=0.8))
    assert separable.squared_norm == np.inf
    assert 0.35 < separable.test_error < 0.4


def test_few_easy_rows_with_many_flips_are_solved_without_ridge():
    """Powell's method alone missed them."""
    group = Group(along=(0.48, np.sqrt(1 - 0.48**2)), keep=KeepEasy(1.0), flip=0.2)
    problem = SpanProblem(PLANE, [group], 0.144, 0.0, loss=SQUARED_HINGE)
    runs = simulate(problem, 150, 12)
    assert abs(runs.test_error - predict(problem).test_error) < 4 * runs.test_error_se


@pytest.mark.parametrize("lam", [0.01, 0.5])
def test_the_hinge_against_the_experiment(lam):
    problem = SpanProblem(PLANE, [Group(along=PRUNER, keep=KeepHard(0.7), flip=0.1)], 0.5, lam, loss=HINGE)
    assert largest_z(simulate(problem, 100, 12), predict(problem)) < 4


def test_the_hinge_has_the_margin_of_other_losses_without_ridge():
    problem = SpanProblem(PLANE, [Group(along=PRUNER, keep=KeepHard(0.5))], 0.5, 0.0, loss=HINGE)
    assert predict(problem) == predict(replace(problem, loss=LOGISTIC))


def test_experiment_fits_like_scikit_learn(monkeypatch):
    """The experiment's minimiser against an independent solver, on the experiment's own rows."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    from dp_theory.loop import experiment

    fits = []
    fit = experiment.fit_convex
    monkeypatch.setattr(
        experiment, "fit_convex", lambda *arguments: fits.append((arguments, fit(*arguments))) or fits[-1][1]
    )
    group = Group(along=PRUNER, weight=Verifier(2), flip=0.1)
    simulate(SpanProblem(PLANE, [group], 0.5, 0.02, loss=LOGISTIC), 60, 2)
    for (x, y, q, lam, _), ours in fits:
        solver = linear_model.LogisticRegression(C=1 / lam, fit_intercept=False, solver="newton-cholesky", tol=1e-10)
        np.testing.assert_allclose(ours, solver.fit(x, y, sample_weight=q).coef_[0], rtol=1e-4, atol=1e-5)


def test_an_order_without_a_solution_is_not_the_last():
    """At order 4 the quadrature of a selector that is the truth has none; the higher ones do."""
    group = Group(along=(1.0, 0.0), keep=KeepHard.with_keep_fraction(0.3))
    found = predict(SpanProblem((1.0, 0.0), [group], 0.05, 0.0005, loss=LOGISTIC))
    assert found.overlap == pytest.approx(10.3121, abs=5e-5)
    assert found.squared_norm - found.overlap**2 == pytest.approx(0.8933, abs=5e-4)
