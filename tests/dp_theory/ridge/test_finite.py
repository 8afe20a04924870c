"""Theorem 1 at finite dimension: against a transcription by finite differences, and against simulation."""

import numpy as np
import pytest
from scipy.integrate import quad

from dp_theory import Direct, Entropy, InputError, KeepAll, KeepEasy, KeepHard, Problem, Random, predict
from dp_theory.loop import PracticeProblem
from dp_theory.numerics.quadrature import nested
from dp_theory.ridge.simulators import law
from dp_theory.ridge.simulators.dense import LAW, generator
from dp_theory.rules import Rule, SymmetricRule
from tests.mistyped import mistyped

FIELDS = ("test_error", "overlap", "squared_norm")
ISSUE = Problem(Direct(KeepHard.with_keep_fraction(0.2)), 0.9, 0.5, 0.001)


def fields(prediction, suffix=""):
    return np.array([getattr(prediction, name + suffix) for name in FIELDS])


# -- an independent transcription: spectra by integrals, everything else by finite differences


def spectral(f, p, phi):
    """tr f(W)/n for the m×m matrix W = BBᵀ/n by Marchenko and Pastur, and n times its bias for real B."""
    a, b = (np.sqrt(p) - np.sqrt(phi)) ** 2, (np.sqrt(p) + np.sqrt(phi)) ** 2

    def x(angle):
        return (a + b) / 2 + (b - a) / 2 * np.cos(angle)

    bulk = quad(lambda t: f(x(t)) * ((b - a) / 2 * np.sin(t)) ** 2 / (2 * np.pi * x(t)), 0, np.pi, epsabs=1e-13)[0]
    bias = (f(a) + f(b)) / 4 - quad(lambda t: f(x(t)), 0, np.pi, epsabs=1e-13)[0] / (2 * np.pi)
    return bulk + max(p - phi, 0) * f(0.0), bias


def delta_method(alpha, rho, phi, lam):
    """n·(mean − limit) and n·variance of the outputs for keep-hard, by second differences along random directions."""
    sine = np.sqrt(1 - rho**2)
    planes = np.array([[1.0, 0.0], [1.0, 0.0], [rho, sine]])
    blocks = nested(planes, np.array([alpha, -alpha, 0.0]), np.zeros(3), 48, reach=12.0)
    (t, v), mass, _ = (np.concatenate(part, axis=-1) for part in zip(*blocks, strict=True))
    u = np.array([np.where(rho * t + sine * v > 0, 1.0, -1.0), t, v])
    mass = mass * (abs(t) <= alpha)
    gram = (u * mass) @ u.T
    upper = np.triu_indices(3)
    products = np.array([u[i] * u[j] for i, j in zip(*upper, strict=True)])
    cov_t = (products * mass) @ products.T - np.outer(gram[upper], gram[upper])
    p = gram[0, 0]

    def resolvent(x):
        return 1 / (x + lam)

    def pull(x):
        return x / (x + lam) ** 2

    names = (resolvent, pull)
    at = [spectral(f, p, phi) for f in names]
    means = np.array([value / p for value, _ in at])
    second = np.array([[spectral(lambda x, f=f, g=g: f(x) * g(x), p, phi)[0] / p for g in names] for f in names])
    forms = (second - np.outer(means, means)) / p  # n times the covariance of two off-diagonal forms

    def outputs(moved, turned, columns=0.0):
        """Of T = gram + moved, forms off by `turned` (2, 3, 3), and B short of so many of its columns, over n."""
        full = gram + moved
        factor = np.linalg.cholesky(full)
        traces = [spectral(f, full[0, 0], phi - columns)[0] / full[0, 0] for f in names]
        r, k = (factor @ (trace * np.eye(3) + e) @ factor.T for trace, e in zip(traces, turned, strict=True))
        a = np.linalg.solve(r[1:, 1:] + np.eye(2), r[1:, 0])
        c = np.array([1.0, *-a])
        along = rho * a[0] + sine * a[1]
        norm = a @ a + c @ k @ c
        return np.array([np.arccos(along / np.sqrt(norm)) / np.pi, along, norm])

    def symmetric(entries):
        full = np.zeros((3, 3))
        full[upper] = entries
        return full + np.triu(full, 1).T

    calm, h = np.zeros((2, 3, 3)), 1e-3
    limit = outputs(np.zeros((3, 3)), calm)
    values, vectors = np.linalg.eigh(cov_t)
    steps = [(symmetric(np.sqrt(max(w, 0.0)) * x), calm) for w, x in zip(values, vectors.T, strict=True)]
    widths, sides = np.linalg.eigh(forms)
    for width, side in zip(widths, sides.T, strict=True):
        for i, j in zip(*upper, strict=True):
            e = np.zeros((3, 3))
            e[i, j] = e[j, i] = np.sqrt(max(width, 0.0) * (2 if i == j else 1))
            steps.append((np.zeros((3, 3)), side[:, None, None] * e))
    shift, variance = np.zeros(3), np.zeros(3)
    for moved, turned in steps:
        up, down = (outputs(sign * h * moved, sign * h * turned) for sign in (1, -1))
        shift += (up - 2 * limit + down) / h**2 / 2
        variance += ((up - down) / (2 * h)) ** 2
    biased = np.array([bias / p * np.eye(3) for _, bias in at])
    shift += (outputs(0 * gram, h**2 * biased) - limit) / h**2
    shift += (outputs(0 * gram, calm, 2 * h**2) - limit) / h**2  # selector and truth are no columns of B
    return shift, variance


@pytest.mark.parametrize(
    ("alpha", "rho", "phi", "lam"), [(0.5, 0.9, 0.2, 0.01), (0.8, -0.4, 1.5, 0.05), (2.0, 0.6, 0.7, 0.3)]
)
def test_first_order_is_that_of_an_independent_transcription(alpha, rho, phi, lam):
    d = 10**6
    problem = Problem(KeepHard(alpha), rho, phi, lam)
    n = round(d / phi)
    shift, variance = delta_method(alpha, rho, d / n, lam)
    finite = predict(problem, d=d)
    limit = predict(Problem(KeepHard(alpha), rho, d / n, lam))
    np.testing.assert_allclose(n * (fields(finite) - fields(limit)), shift, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(n * fields(finite, "_sd") ** 2, variance, rtol=1e-4)


# -- simulation

CELLS = [
    ISSUE,
    Problem(Direct(KeepAll()), 0.0, 0.5, 0.001),
    Problem(KeepAll(), 0.0, 2.0, 0.0),
    Problem(KeepAll(), 0.0, 0.3, 0.0),
    Problem(Random(0.4), 0.0, 0.75, 0.01),
    Problem(KeepHard(0.5), 0.9, 0.2, 0.01),
    Problem(KeepHard(0.5), 0.9, 0.2, 0.0),
    Problem(KeepHard(0.8), -0.7, 0.4, 0.1),
    Problem(KeepHard(0.8), 0.5, 1.5, 0.05),
    Problem(KeepHard(1.0), 1.0, 0.3, 0.001),
    Problem(KeepHard(1.5), 0.5, 1.5, 0.0),
    Problem(KeepHard(1.0), 0.6, 0.5, 0.01),
    Problem(KeepEasy(0.7), 0.6, 0.5, 0.01),
    Problem(KeepEasy(0.5), 0.9, 0.2, 0.0),
    Problem(KeepEasy(1.0), 0.5, 1.0, 0.02),
    Problem(KeepEasy(0.3), 0.0, 0.5, 1.0),
    Problem(Direct(KeepEasy(1.0)), -0.9, 2.0, 0.1),
    Problem(Direct(KeepHard(0.5)), 0.9, 0.5, 0.01),
    Problem(Direct(KeepHard(0.3)), 0.7, 0.3, 0.02),
    Problem(Entropy(4.0), 0.9, 0.4, 0.1),
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
    """Means within 3.5 standard errors (66 of them), standard deviations within 4 of theirs, 95 % bands cover."""
    d, trials = 200, 600
    seen, finite = draws(problem, d, trials), predict(problem, d=d)
    mean, sd = seen.mean(0), seen.std(0, ddof=1)
    assert np.all(np.abs(mean - fields(finite)) < 3.5 * sd / np.sqrt(trials))
    kurtosis = ((seen - mean) ** 4).mean(0) / sd**4
    assert np.all(np.abs(sd / fields(finite, "_sd") - 1) < 4 * np.sqrt((kurtosis - 1) / 4 / trials) + 0.01)
    low, high = finite.band()
    assert np.mean((seen[:, 0] > low) & (seen[:, 0] < high)) == pytest.approx(0.95, abs=4 * np.sqrt(0.05 / trials))


@pytest.mark.slow
@pytest.mark.parametrize("problem", CELLS)
def test_variance_and_coverage_at_d_400(problem):
    """The variance within 2 % (and 3 standard errors of the estimate), 95 % bands cover 95 ± 1 %, means 3.5 errors."""
    trials = 10_000
    seen, finite = draws(problem, 400, trials), predict(problem, d=400)
    sd = seen.std(0, ddof=1)
    assert np.all(np.abs(seen.mean(0) - fields(finite)) < 3.5 * sd / np.sqrt(trials))
    kurtosis = ((seen - seen.mean(0)) ** 4).mean(0) / sd**4
    assert np.all(np.abs(fields(finite, "_sd") ** 2 / sd**2 - 1) < 0.02 + 3 * np.sqrt((kurtosis - 1) / trials))
    low, high = finite.band()
    assert np.mean((seen[:, 0] > low) & (seen[:, 0] < high)) == pytest.approx(0.95, abs=0.01)


# -- moments, arrays, limits


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.3, 0.9999, 1.0])
@pytest.mark.parametrize(
    "rule", [KeepHard(0.1), KeepHard(0.49), KeepHard(2.0), KeepHard(np.inf), KeepEasy(0.1), KeepEasy(4.0), Random(0.3)]
)
def test_closed_fourth_moments_are_the_integrals(rule, rho):
    np.testing.assert_allclose(rule.fourth_moments(rho), Rule.up_to_fourth(rule, rho)[2], rtol=1e-10, atol=1e-18)


def test_a_selector_that_knows_next_to_nothing_has_a_prediction():
    """Moments that vanish with rho are certain, too."""
    nearly, not_at_all = (predict(Problem(Entropy(4.6), rho, 0.5, 0.01), d=400) for rho in (1e-7, 0.0))
    assert nearly.test_error == pytest.approx(not_at_all.test_error, abs=1e-6)
    assert nearly.test_error_sd == pytest.approx(not_at_all.test_error_sd, rel=1e-5)


def test_direct_draws_are_a_pool_that_keeps_all():
    rule = SymmetricRule(lambda t: np.where(t < 0.7, 1.0, 0.2), (0.7,))
    p = rule.moments(0.5).p
    np.testing.assert_allclose(Direct(rule).fourth_moments(0.5), np.array(rule.fourth_moments(0.5)) / p)


def test_arrays_are_loops():
    rho, phi = np.array([[0.1], [0.9]]), np.array([0.3, 0.7, 1.4])
    together = predict(Problem(KeepHard(0.8), rho, phi, 0.01), d=250)
    assert together.test_error.shape == together.test_error_sd.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        one = predict(Problem(KeepHard(0.8), rho[i, 0], phi[j], 0.01), d=250)
        assert one.test_error == pytest.approx(together.test_error[i, j], rel=1e-13)
        assert one.test_error_sd == pytest.approx(together.test_error_sd[i, j], rel=1e-10)
        np.testing.assert_allclose(one.band(0.5), [edge[i, j] for edge in together.band(0.5)], rtol=1e-10)


def test_large_dimensions_give_the_limit_and_narrow_bands():
    limit = predict(ISSUE)
    near, far = (predict(ISSUE, d=d) for d in (10**4, 10**6))
    assert abs(far.test_error - limit.test_error) < abs(near.test_error - limit.test_error) / 90
    assert near.test_error_sd / far.test_error_sd == pytest.approx(10, rel=0.01)
    assert limit.certificate < far.certificate < near.certificate < predict(ISSUE, d=50).certificate


@pytest.mark.parametrize(
    ("problem", "d", "off", "norm_off"),
    [
        (Problem(KeepHard(0.01), 0.9, 1.0, 0.1), 100, 0.0100, 0.56),
        (Problem(KeepHard(0.01), 0.9, 1.0, 0.1), 20, 0.043, 5.1),
        (Problem(KeepEasy(2.0), 0.9, 0.5, 0.1), 20, 0.091, 0.19),
        (Problem(KeepHard(0.5), 0.9, 0.45, 1e-6), 40, None, 0.48),
        (Problem(KeepHard(0.5), 0.9, 0.45, 1e-6), 100, 0.011, 0.22),
        (Problem(KeepHard(0.5), 0.9, 0.4, 1e-4), 20, 0.044, 0.31),
        (Problem(KeepAll(), 0.0, 0.8, 1e-3), 20, 0.017, None),
        (Problem(KeepHard(0.1), 0.9, 0.5, 0.1), 20, 0.0044, 0.059),
        (Problem(KeepEasy.with_keep_fraction(0.05), 0.9, 0.045, 1e-4), 100, 0.0061, None),
        (Problem(KeepEasy.with_keep_fraction(0.99), -0.9, 0.296, 99.0), 3, 0.175, 0.068),
        (Problem(Entropy.with_keep_fraction(0.99), 0.0, 0.77, 99.0), 3, 0.149, 0.125),
        (Problem(KeepHard.with_keep_fraction(0.99), 0.5, 0.153, 0.99), 5, 0.052, None),
    ],
)
def test_the_certificates_tell_the_errors_within_a_small_factor(problem, d, off, norm_off):
    """off, norm_off: relative errors of test error and squared norm against 1,500 to 4,000 draws of the exact law."""
    found = predict(problem, d=d)
    if off is not None:
        assert 0.8 * off < found.certificate < 12 * off
    if norm_off is not None:
        assert 0.7 * norm_off < found.norm_certificate < 40 * norm_off
    far = predict(problem, d=10**6 * d)
    assert max(far.certificate, far.norm_certificate) < 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: predict(ISSUE, d=2), "d = 2 must be above 2"),
        (lambda: predict(ISSUE, d=-3), "d = -3 must be above 2"),
        (lambda: predict(Problem(KeepAll(), 0.5, 50.0, 0.1), d=10), "phi = 50 must be below 20"),
        (lambda: predict(Problem(KeepAll(), 0.5, 1.0, 0.0), d=10), "phi = 1 must differ from the kept fraction"),
        (lambda: predict(mistyped(PracticeProblem(0.5, 0.1)), d=10), "has no theory at finite dimension"),
        (lambda: predict(ISSUE, d=100).band(1.0), "level = 1 must lie in"),
    ],
)
def test_what_has_no_finite_prediction_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message):
        call()
