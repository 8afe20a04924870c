"""Convex losses: the square loss gives the span recipe, logistic regression meets other solvers and simulation."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from dp_theory import predict, simulate
from dp_theory.loop import HINGE, LOGISTIC, SQUARED_HINGE, Agree, Group, Interpolating, SpanProblem, Verifier
from dp_theory.loop.losses import Loss, Square
from dp_theory.rules import KeepEasy, KeepHard
from tests.dp_theory.verification.beyond import feature_cells

PLANE = (1.0, 0.0)
PRUNER = (0.8, 0.6)


def outputs(record):
    return np.array([record.test_error, record.overlap, record.squared_norm])


def test_reference_value():
    logistic = SpanProblem(PLANE, [Group()], 0.5, 0.05, loss=LOGISTIC)
    assert predict(logistic).test_error == pytest.approx(0.179662, abs=5e-7)


# -- the square loss by the prox recipe -------------------------------------------------------------------------------


@dataclass(frozen=True)
class SquareByNodes(Loss):
    """The square loss, which the theory does not know for it."""

    value, slope, curvature, prox = Square.value, Square.slope, Square.curvature, Square.prox


SQUARE_BY_NODES = SquareByNodes()
SQUARE_CELLS = {
    "plain": Group(),
    "keep-hard": Group(along=PRUNER, keep=KeepHard(0.7)),
    "keep-easy": Group(along=PRUNER, keep=KeepEasy(0.7), flip=0.1),
    "soft verifier": Group(along=PRUNER, weight=Verifier(2), flip=0.2),
    "label-aware": Group(labeller=(0.6, 0.8), along=PRUNER, keep=Agree(), weight=Interpolating(1, 2)),
}


@pytest.mark.parametrize("phi", [0.4, 1.5])
@pytest.mark.parametrize("group", SQUARE_CELLS.values(), ids=SQUARE_CELLS)
def test_square_loss_is_the_span_recipe(group, phi):
    problem = SpanProblem(PLANE, [group], phi, 0.02)
    ours, recipe = predict(replace(problem, loss=SQUARE_BY_NODES), tolerance=1e-11), predict(problem)
    np.testing.assert_allclose(outputs(ours), outputs(recipe), rtol=1e-10)


def test_square_loss_with_a_general_covariance():
    problem = feature_cells(50)["power law 1, keep-easy"]
    ours = predict(replace(problem, loss=SQUARE_BY_NODES))
    np.testing.assert_allclose(outputs(ours), outputs(predict(problem)), rtol=1e-10)


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


def test_newton_from_the_score_itself_would_cycle():
    """Why the prox starts where it does: the textbook start does not converge at this strength."""
    strength, w = 1000.0, -20.0
    u = w
    for _ in range(200):
        tail = expit(-u)
        u -= (u - strength * tail - w) / (1 + strength * tail * (1 - tail))
    assert abs(u - strength * expit(-u) - w) > 1.0
    ours = LOGISTIC.prox(np.array([w]), np.array([1.0]), np.array([strength]))[0]
    assert ours - strength * expit(-ours) == pytest.approx(w, abs=1e-10)


# -- logistic regression ----------------------------------------------------------------------------------------------


def test_strong_ridge_makes_all_losses_one():
    """λ → ∞: ŵ → −ℓ'(0) E[q y x]/λ, half the square loss's with the same direction."""
    problem = SpanProblem(PLANE, [Group(along=PRUNER, keep=KeepHard(0.7), flip=0.1)], 0.5, 1e5)
    logistic, square = outputs(predict(replace(problem, loss=LOGISTIC))), outputs(predict(problem))
    np.testing.assert_allclose(logistic * [1, 2, 4], square, rtol=1e-4)


def test_weights_and_ridge_scale_together():
    group = Group(along=PRUNER, weight=Verifier(2), flip=0.1)
    problem = SpanProblem(PLANE, [group], 0.5, 0.02, loss=LOGISTIC)
    scaled = replace(problem, groups=[replace(group, weight=lambda t, y: 5 * Verifier(2)(t, y))], lam=0.1)
    np.testing.assert_allclose(outputs(predict(scaled)), outputs(predict(problem)), rtol=1e-8)


def test_ridgeless_on_rows_that_are_not_separable_and_on_such_that_are():
    noisy = SpanProblem(PLANE, [Group(flip=0.2)], 0.1, loss=LOGISTIC)
    limit, near = (outputs(predict(replace(noisy, lam=lam))) for lam in (0.0, 1e-7))
    np.testing.assert_allclose(limit, near, rtol=1e-4)
    separable = predict(replace(noisy, phi=0.8))
    assert separable.squared_norm == np.inf
    assert 0.35 < separable.test_error < 0.4


def test_few_easy_rows_with_many_flips_are_solved_without_ridge():
    """Powell's method alone missed them."""
    group = Group(along=(0.48, np.sqrt(1 - 0.48**2)), keep=KeepEasy(1.0), flip=0.2)
    problem = SpanProblem(PLANE, [group], 0.144, 0.0, loss=SQUARED_HINGE)
    answer = predict(problem)
    runs = simulate(problem, 150, 12)
    assert abs(runs.test_error - answer.test_error) < 4 * runs.test_error_se


@pytest.mark.parametrize("lam", [0.01, 0.5])
def test_the_hinge_against_the_experiment(lam):
    problem = SpanProblem(PLANE, [Group(along=PRUNER, keep=KeepHard(0.7), flip=0.1)], 0.5, lam, loss=HINGE)
    answer = predict(problem)
    runs = simulate(problem, 100, 12)
    for name in ("test_error", "overlap", "squared_norm"):
        off = getattr(runs, name) - getattr(answer, name)
        assert abs(off) < 4 * getattr(runs, f"{name}_se")


def test_the_hinge_has_the_margin_of_other_losses_without_ridge():
    problem = SpanProblem(PLANE, [Group(along=PRUNER, keep=KeepHard(0.5))], 0.5, 0.0, loss=HINGE)
    assert predict(problem) == predict(replace(problem, loss=LOGISTIC))


def test_batch_is_loop():
    problem = SpanProblem(PLANE, [Group()], np.array([0.3, 0.9]), 0.05, loss=LOGISTIC)
    batch = predict(problem)
    for i, phi in enumerate(problem.phi):
        np.testing.assert_array_equal(outputs(batch)[:, i], outputs(predict(replace(problem, phi=float(phi)))))


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


@pytest.mark.slow
def test_pruner_and_verifier():
    """Three nested integrals."""
    problem = replace(feature_cells()["pruner, verifier, labeller"], loss=LOGISTIC)
    theory, simulated = predict(problem, tolerance=1e-6), simulate(problem, 200, 100)
    se = np.array([simulated.test_error_se, simulated.overlap_se, simulated.squared_norm_se])
    assert np.max(abs(outputs(simulated) - outputs(theory)) / se) < 4


def test_an_order_without_a_solution_is_not_the_last():
    """At order 4 the quadrature of a selector that is the truth has none; the higher ones do."""
    group = Group(along=(1.0, 0.0), keep=KeepHard.with_keep_fraction(0.3))
    found = predict(SpanProblem((1.0, 0.0), [group], 0.05, 0.0005, loss=LOGISTIC))
    assert found.overlap == pytest.approx(10.3121, abs=5e-5)
    assert found.squared_norm - found.overlap**2 == pytest.approx(0.8933, abs=5e-4)
