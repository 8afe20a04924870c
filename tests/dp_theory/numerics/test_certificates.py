"""Certificates bound every error: against 50 digits, near the peak as elsewhere, and they are not vacuous."""

from dataclasses import replace
from functools import partial

import mpmath as mp
import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from dp_theory import (
    LOGISTIC,
    Addition,
    ConvergenceError,
    Group,
    KeepHard,
    PracticeProblem,
    Problem,
    Random,
    SpanProblem,
    SymmetricRule,
    Verifier,
    Window,
    predict,
)
from dp_theory.loop import square
from dp_theory.numerics import quadrature
from tests.dp_theory.agreement import outputs
from tests.dp_theory.ridge.printed import KINDS, printed_moments, printed_theorem1
from tests.dp_theory.rules.reference import integrated_moments
from tests.dp_theory.verification.beyond import PRUNER, TRUTH, interpolating

drawn = partial(settings, deadline=None, derandomize=True, phases=[Phase.generate])  # shrinking takes minutes of mpmath
ULPS = 8 * np.finfo(float).eps

magnitudes = st.floats(0.0, 1.0)
rhos = st.one_of(
    st.floats(-1.0, 1.0), st.builds(lambda e, s: s * (1 - 10.0**-e), st.floats(1, 15), st.sampled_from([-1, 1]))
)
peaks = st.one_of(st.none(), st.builds(lambda e, s: s * 10.0**-e, st.floats(1, 15), st.sampled_from([-1, 1])))
lams = st.one_of(st.just(0.0), st.floats(-14, 6).map(lambda e: 10.0**e))


def exact_outputs(moments, rho, phi, lam):
    """(test_error, overlap, squared_norm) at the working precision; the limit lam → 0+ as a ridge of 1e-50·phi."""
    return printed_theorem1(moments, mp.mpf(rho), mp.mpf(phi), mp.mpf(lam) if lam else phi * mp.mpf(10) ** -50)


def assert_bounded(answer, exact, at=()):
    """Every error is within the certificate: of the overlap relative to the norm, of the others to themselves."""
    test_error, _, squared_norm = exact
    certificate = float(answer.certificate[at])
    scales = test_error, mp.sqrt(squared_norm), squared_norm
    for got, value, scale in zip(outputs(answer)[:, *at], exact, scales, strict=True):
        error = abs(mp.mpf(float(got)) - value) / scale if np.isfinite(got) else mp.inf
        assert error <= certificate + ULPS, (float(error), certificate)


def assert_close_to(answer, best):
    """Every error, of every stage, is within the certificate, if a better answer is the truth."""
    scale = np.array([best.test_error, np.sqrt(best.squared_norm), best.squared_norm])
    assert np.all(np.abs(outputs(answer) - outputs(best)) / scale <= answer.certificate + ULPS)


def near_or_far(p, phi, peak):
    """phi as drawn, or at a relative distance from the peak phi = p."""
    return phi if peak is None else p * (1 + peak)


# -- Theorem 1 and Corollary 1 ----------------------------------------------------------------------------------------


@drawn(max_examples=200)
@given(st.sampled_from(list(KINDS)), magnitudes, rhos, st.floats(-6, 3), lams, peaks)
def test_closed_forms(kind, magnitude, rho, log_phi, lam, peak):
    """With a ridge they are good to nine digits everywhere."""
    scales = {
        "keep-hard": 10 ** (7 * magnitude - 6),
        "keep-easy": 0.01 + 8 * magnitude,
        "random": 10 ** (-6 * magnitude),
    }
    rule = KINDS[kind](value := scales[kind])
    phi = near_or_far(p := float(rule.moments(0.0).p), 10**log_phi, peak)
    assume(lam > 0 or phi != p)  # the peak has a test of its own
    answer = predict(Problem(rule, rho, phi, lam))
    assert lam < 1e-12 or answer.certificate < 1e-9
    with mp.workdps(200):
        assert_bounded(answer, exact_outputs(printed_moments(kind, mp.mpf(value), mp.mpf(rho)), rho, phi, lam))


@drawn(max_examples=4)
@given(st.floats(0.2, 60), st.floats(0, 3), st.floats(-0.999, 0.999), st.floats(-2, 2), lams, peaks)
def test_a_smooth_rule_by_quadrature(sharpness, centre, rho, log_phi, lam, peak):
    """Rows around |t| = centre: sharper ones need higher orders, and get them."""
    with mp.workdps(40):
        moments = integrated_moments(lambda t: mp.exp(-sharpness * (t - centre) ** 2), rho)
    phi = near_or_far(float(moments[0]), 10**log_phi, peak)
    answer = predict(Problem(SymmetricRule(lambda t: np.exp(-sharpness * (t - centre) ** 2)), rho, phi, lam))
    with mp.workdps(200):
        assert_bounded(answer, exact_outputs(moments, rho, phi, lam))


@pytest.mark.parametrize("distance", [1e-6, 1e-10, 1e-13, 1e-15])
def test_near_the_peak_the_certificate_knows_the_distance(distance):
    rule = KeepHard(0.7)
    answer = predict(Problem(rule, 0.6, float(rule.moments(0.0).p) * (1 + distance), 0.0))
    assert answer.certificate > 1e-17 / distance
    assert answer.certificate < 1e-14 / distance


def test_at_the_peak_it_is_known_only_if_the_kept_fraction_is():
    known = predict(Problem(Random(0.25), 0.5, 0.25, 0.0))
    guessed = predict(Problem(KeepHard(0.7), 0.6, float(KeepHard(0.7).moments(0.0).p), 0.0))
    assert known.squared_norm == guessed.squared_norm == np.inf
    assert known.certificate < 1e-13
    assert guessed.certificate == np.inf


@pytest.mark.parametrize(
    "problem",
    [Problem(KeepHard(1e-300), 0.9, 1e-29, 0.01), SpanProblem(TRUTH, [Group()], 1.0), PracticeProblem(1.0, 0.0)],
)
def test_a_tolerance_is_not_promised_where_no_certificate_is_finite(problem):
    assert not np.isfinite(predict(problem).certificate).all()
    with pytest.raises(ConvergenceError, match="a certificate is not finite"):
        predict(problem, tolerance=1e-6)


# -- the span recipe --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        SpanProblem(TRUTH, [Group(along=PRUNER, weight=Verifier(8), flip=0.1)], 0.4, 0.01),
        SpanProblem(TRUTH, [Group(along=PRUNER, weight=Verifier(60))], 0.5, 0.01),  # steep
        SpanProblem(TRUTH, [Group(0.5), Group(along=PRUNER, keep=KeepHard(0.3))], 0.7, 1e-3),
        SpanProblem(TRUTH, [Group(along=PRUNER, keep=KeepHard(0.8))], 0.4, 0.05, loss=LOGISTIC),
    ],
)
def test_span_features_against_their_own_best(cell):
    """A loose tolerance is within its certificate of a tight one."""
    best = predict(cell, tolerance=1e-11 if cell.loss is LOGISTIC else 1e-13)
    for tolerance in (1e-3, 1e-6, 1e-9):
        assert_close_to(predict(cell, tolerance=tolerance), best)


def test_the_span_recipe_near_its_peak():
    """All rows kept, phi close to 1, no ridge: the certificate grows as the distance shrinks; at the peak it is inf."""
    phis = [1.001, 1 + 1e-6, 1 + 1e-9, 1.0]
    answers = [predict(SpanProblem(TRUTH, [Group()], phi)) for phi in phis]
    assert np.all(np.diff([answer.certificate for answer in answers]) > 0)
    assert answers[2].certificate < 1e-3
    assert answers[3].certificate == np.inf
    for answer, phi in zip(answers[:3], phis[:3], strict=True):
        exact = exact_outputs((mp.mpf(1), mp.mpf(1), mp.mpf(0), 2 * mp.npdf(0)), 1.0, phi, 0.0)
        with mp.workdps(200):
            assert_bounded(answer, exact, ())


# -- the practice loop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        PracticeProblem(0.5, 0.02, [Addition(1, weight=interpolating(2, 3.0))] * 3),
        PracticeProblem(0.5, 0.02, [Addition(1, weight=Verifier(25.0))] * 2, flip=0.1),  # steep
        PracticeProblem(0.25, 0.0, [Window(1)] * 12, accumulate=False),
    ],
)
def test_loops_against_many_nodes(cell, patch):
    answer = predict(cell)
    patch(square, "ORDERS", (16, 80, 100))
    best = predict(cell, tolerance=1.0)
    assert_close_to(answer, best)


UNNAMED = Addition(1, keep=lambda t, y: abs(t) < 0.777)


@pytest.mark.parametrize(
    "selected",
    [
        lambda keep: PracticeProblem(0.5, 0.02, [Addition(1, keep=keep)] * 2),
        lambda keep: SpanProblem(TRUTH, [Group(along=PRUNER, keep=keep)], 0.5, 0.01),
    ],
)
def test_jumps_that_are_not_named_are_found(selected):
    answer, best = predict(selected(UNNAMED.keep)), predict(selected(KeepHard(0.777)))
    assert answer.certificate.max() < 1e-9
    assert_close_to(answer, best)


def test_a_loops_certificate_sees_what_cannot_be_refined(patch):
    patch(quadrature, "MAX_PANELS", 20)
    best = predict(PracticeProblem(0.5, 0.02, [replace(UNNAMED, breaks=(0.777,))]))
    assert best.certificate[1] < 1e-12
    loose = predict(PracticeProblem(0.5, 0.02, [UNNAMED]), tolerance=1e-2)
    assert loose.certificate[1] > 1e-6
    assert_close_to(loose, best)
    with pytest.raises(ConvergenceError, match="named in breaks"):
        predict(PracticeProblem(0.5, 0.02, [UNNAMED]))


def test_a_loops_certificate_has_the_error_of_its_rules_moments():
    rule = SymmetricRule(lambda t: np.exp(-12 * (t - 1.5) ** 2))
    monkey = predict(PracticeProblem(0.5, 0.02, [Addition(1, keep=rule)] * 2))
    assert np.all(monkey.certificate[1:] > max(rule.moments_with_errors(0.5)[1]))
