"""The theory's points against `predict`, and the likelihood against a transcription."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq

from dp_theory import Curve, Direct, KeepAll, KeepHard, PracticeProblem, Problem, Window, fit, predict
from dp_theory.fitting.likelihood import Likelihood
from dp_theory.fitting.theory import PARAMETERS, practice_curve, predict_points
from tests.dp_theory.fitting.curves import TRUTH, experiments, measured_curve, parameter_set


def test_means_and_scatter_are_those_of_predict():
    points = Curve(
        ["static", "prune", "direct"], [400, 320, 300], [0.3] * 3, generated=[400, 800, 300], keep=[1, 0.4, 0.4]
    )
    mean, deviation = predict_points(points, parameter_set(flip=0.0, floor=0.0))
    hard = KeepHard.with_keep_fraction(0.4)
    problems = (
        Problem(KeepAll(), 1.0, 0.5, 0.02),
        Problem(hard, 0.8, 0.25, 0.4 * 0.02),
        Problem(Direct(hard), 0.8, 200 / 300, 0.02),
    )
    for i, problem in enumerate(problems):
        finite = predict(problem, d=200)
        assert (mean[0, i], deviation[0, i]) == pytest.approx((finite.test_error, finite.test_error_sd), rel=1e-9)


def test_fourteen_rounds_of_practice_are_solved_as_they_are():
    sizes, errors = practice_curve(100.0, 50.0, 800.0, 30.0, 1.0, 0.1, 0.01)
    loop = PracticeProblem(0.3, (0.01 * sizes / 100).tolist(), [Window(1.0, 0.5)] * 14, flip=0.1)
    np.testing.assert_allclose(errors, predict(loop).test_error, rtol=1e-9)


def test_the_likelihood_is_that_of_a_transcription():
    """Normal densities about sampled means with sampled variances: flips and the floor are written out by hand."""
    curve = measured_curve(1, sizes=3)
    known = {name: value for name, value in TRUTH.items() if name != "window"}
    likelihood = Likelihood(curve, tuple(known), {"window": 1.0}, with_log=True)
    z = np.array(
        [
            brentq(lambda z, name=name, value=value: PARAMETERS[name].from_z(z) - value, -12, 12, xtol=1e-13)
            for name, value in known.items()
        ]
    )
    expected = 0.0
    for n, keep, error in zip(curve.generated, curve.keep, curve.error, strict=True):
        drawn = experiments(keep, round(n), 300, seed=0)
        variance = 300 * drawn.test_error_se**2 / 4
        expected += (error - drawn.test_error) ** 2 / variance + np.log(variance)
    assert likelihood.deviances(z[None])[0] == pytest.approx(expected, abs=1.0)
    steps = 1e-4 * np.eye(len(z))
    ahead = likelihood.deviances(z + steps)
    back = likelihood.deviances(z - steps)
    np.testing.assert_allclose(likelihood.linearise(z).gradient, (ahead - back) / 2e-4, rtol=1e-4, atol=1e-4)


def test_an_exact_curve_is_weighted_by_its_own_estimate():
    """Estimate: generalised least squares with the variances there. Region: about the fitted means, own variances."""
    curve = measured_curve(3, sizes=5)
    fitted = fit(curve)
    region = fitted.likelihood
    z = fitted.best
    mean, deviation = predict_points(curve, region.values(z[None]))
    weighted = replace(curve, se=deviation[0] / np.sqrt(curve.trials), exact=False)
    at_best = Likelihood(weighted, region.free, region.fixed).linearise(z)
    newton_step = np.linalg.solve(at_best.information, at_best.gradient)
    assert at_best.gradient @ newton_step / 4 < 1e-3  # .03 standard errors

    elsewhere = z[None] + 1
    far, scatter = predict_points(curve, region.values(elsewhere))
    expected = np.sum((far[0] - mean[0]) ** 2 / scatter[0] ** 2 * curve.trials)
    assert region.deviances(elsewhere)[0] == pytest.approx(expected, rel=1e-9)
    assert region.deviances(z[None])[0] == pytest.approx(0, abs=1e-12)
