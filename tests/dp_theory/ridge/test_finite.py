"""Theorem 1 at finite dimension against simulation, and the moments that it takes against integrals."""

from functools import partial

import numpy as np
import pytest

from dp_theory import Direct, Entropy, KeepAll, KeepEasy, KeepHard, Problem, Random, Rule, predict, simulate
from dp_theory.ridge.simulators import law
from dp_theory.ridge.simulators.dense import LAW, generator
from tests.dp_theory.agreement import largest_z, outputs
from tests.refusals import out_of_range, refused

ISSUE = Problem(Direct(KeepHard.with_keep_fraction(0.2)), 0.9, 0.5, 0.001)


# -- simulation

CELLS = [
    ISSUE,
    Problem(Direct(KeepAll()), 0.0, 0.5, 0.001),
    Problem(Random(0.4), 0.0, 0.75, 0.01),
    Problem(KeepHard(0.5), 0.9, 0.2, 0.0),
    Problem(KeepHard(1.5), 0.5, 1.5, 0.0),
    Problem(KeepEasy(0.3), 0.0, 0.5, 1.0),
    Problem(Entropy(-3.0), 0.6, 0.5, 0.1),
    Problem(Direct(Entropy(8.0)), 1.0, 0.6, 0.0),
]


def draws(problem, d, trials):
    """Outputs (trials, 3) of the exact law."""
    n = round(d / problem.phi)
    return np.array(
        [law.trial(problem.rule, problem.rho, n, d, [problem.lam], generator(0, LAW, k))[0] for k in range(trials)]
    )


def test_first_order_reproduces_the_two_measured_coefficients():
    """d·(E_d − E) by simulation: +.70 ± .04 for keep-hard at p = .2, −.13 ± .02 for plain data."""
    for problem, measured, se in ((CELLS[0], 0.70, 0.04), (CELLS[1], -0.13, 0.02)):
        coefficient = 10**6 * (predict(problem, d=10**6).test_error - predict(problem).test_error)
        assert abs(coefficient - measured) < se


@pytest.mark.parametrize("problem", CELLS)
def test_means_and_scatter_are_those_of_simulation(problem):
    """Means within 3.5 standard errors, variances within 2 % and 4 of theirs, and 95 % bands cover."""
    d, trials = 200, 400
    seen, finite = draws(problem, d, trials), predict(problem, d=d)
    mean, sd = seen.mean(0), seen.std(0, ddof=1)
    assert np.all(np.abs(mean - outputs(finite)) < 3.5 * sd / np.sqrt(trials))
    kurtosis = ((seen - mean) ** 4).mean(0) / sd**4
    assert np.all(np.abs(sd**2 / outputs(finite, "_sd") ** 2 - 1) < 4 * np.sqrt((kurtosis - 1) / trials) + 0.02)
    low, high = finite.band()
    assert np.mean((seen[:, 0] > low) & (seen[:, 0] < high)) == pytest.approx(0.95, abs=4 * np.sqrt(0.05 / trials))


def test_where_hardly_a_row_is_kept():
    problem = Problem(KeepEasy(4.0), 0.9, 0.1, 0.01)
    assert largest_z(simulate(problem, 200, 400, engine="law"), predict(problem, d=200)) < 3.5


# -- moments, arrays, limits


HARD = [KeepHard(alpha) for alpha in (1e-4, 0.1, 0.4999, 0.5, 2.0, np.inf)]


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.3, 0.999999, 1.0])
@pytest.mark.parametrize("rule", [*HARD, KeepEasy(0.1), KeepEasy(4.0), Random(0.3)], ids=str)
def test_closed_moments_are_the_integrals(rule, rho):
    """At small thresholds keep-hard has series."""
    (found, _, fourth), (want, _, fourth_want) = rule.up_to_fourth(rho), Rule.up_to_fourth(rule, rho)
    np.testing.assert_allclose(found, want, rtol=1e-12)
    np.testing.assert_allclose(fourth, fourth_want, rtol=1e-10, atol=1e-18)


@pytest.mark.parametrize(
    ("problem", "d", "off", "norm_off"),
    [
        (Problem(KeepHard(0.01), 0.9, 1.0, 0.1), 100, 0.00075, 0.085),
        (Problem(KeepEasy(2.0), 0.9, 0.5, 0.1), 20, 0.019, 0.068),
        (Problem(KeepHard(0.5), 0.9, 0.45, 1e-6), 100, 0.011, 0.22),
        (Problem(KeepAll(), 0.0, 0.8, 1e-3), 20, 0.017, None),
        (Problem(KeepEasy.with_keep_fraction(0.05), 0.9, 0.045, 1e-4), 100, 0.0061, None),
        (Problem(KeepEasy.with_keep_fraction(0.99), -0.9, 0.296, 99.0), 3, 0.175, 0.068),
    ],
)
def test_the_certificates_tell_the_errors_within_a_small_factor(problem, d, off, norm_off):
    """off, norm_off: relative errors of test error and squared norm against 1,500 to 4,000 draws of the exact law."""
    found = predict(problem, d=d)
    assert 0.8 * off < found.certificate < 12 * off
    if norm_off is not None:
        assert 0.7 * norm_off < found.norm_certificate < 40 * norm_off
    far = predict(problem, d=10**6 * d)
    assert max(far.certificate, far.norm_certificate) < 1e-3


test_numbers_out_of_range_are_refused = out_of_range((partial(predict, ISSUE), {"d": 2, "tolerance": -1.0}))
test_what_has_no_finite_prediction_is_refused_in_one_line = refused(
    {
        "phi = 50 must be below 20": lambda: predict(Problem(KeepAll(), 0.5, 50.0, 0.1), d=10),
        "phi = 1 must differ from the kept fraction": lambda: predict(Problem(KeepAll(), 0.5, 1.0, 0.0), d=10),
    }
)


def test_the_mean_norm_beside_the_ridgeless_peak_is_infinite():
    """Of a row more or less than d; with two it is finite."""
    sizes = np.array([98, 99, 101, 102])
    norm = predict(Problem(KeepAll(), 0.5, 100 / sizes, 0.0), d=100).squared_norm
    assert np.isfinite(norm).tolist() == [True, False, False, True]
