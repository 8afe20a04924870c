"""The derived expressions, lambdified, are what the numeric code computes; planted misprints are noticed."""

import numpy as np
import pytest
import sympy as sp
from numpy.testing import assert_allclose

from dp_theory import (
    KeepEasy,
    KeepHard,
    Problem,
    corollary1,
    derive,
    predict,
    theorem1,
)
from tests.dp_theory.budgets.laws import keep_hard_law

ALPHA, RHO = np.array([0.3, 0.8, 1.5, 3.0]), np.array([[-0.6], [0.0], [0.4], [0.95]])
SYMBOLS = (derive.p, derive.gamma, derive.beta, derive.beta_tilde, derive.rho, derive.phi)


@pytest.fixture(scope="module")
def derived():
    return {name: make() for name, make in derive.DERIVATIONS.items()}


def numeric(expression, *arguments):
    return sp.lambdify(arguments, expression, modules=["numpy", "scipy"])


def test_every_identity_holds(derived):
    identities = {key: value for derivation in derived.values() for key, value in derivation.identities.items()}
    assert len(identities) == 8
    assert all(value == 0 for value in identities.values()), identities


@pytest.mark.parametrize(("name", "rule"), [("lemma1", KeepHard), ("lemma2", KeepEasy)])
def test_the_lemmas_are_the_rules_moments(derived, name, rule):
    for key, got in rule(ALPHA).moments(RHO)._asdict().items():
        want = numeric(derived[name].results[key], derive.alpha, derive.rho)(ALPHA, RHO)
        assert_allclose(*np.broadcast_arrays(got, want), rtol=1e-11, atol=1e-14)


def theorem1_of(expressions, moments, rho, phi, lam):
    """(overlap, squared norm) at the fixed point of m, by its printed root."""
    p = moments[0]
    m = (phi - p - lam + np.sqrt((p - phi + lam) ** 2 + 4 * phi * lam)) / (2 * phi * lam)
    functions = (numeric(expressions[name], *SYMBOLS, derive.lam, derive.m) for name in ("overlap", "squared_norm"))
    return [function(*moments, rho, phi, lam, m) for function in functions]


@pytest.mark.parametrize("rule", [KeepHard, KeepEasy])
def test_theorem1_as_printed_is_theorem1(rule: type[KeepHard | KeepEasy]):
    phi, lam, rho = 0.7, np.array([[[0.01]], [[1.0]]]), RHO
    moments = rule(ALPHA).moments(rho)
    _, overlap, squared_norm = theorem1(*moments, rho, phi, lam)
    for got, want in zip((overlap, squared_norm), theorem1_of(derive.theorem1(), moments, rho, phi, lam), strict=True):
        assert_allclose(got, want, rtol=1e-9)


def test_theorem1_with_the_main_texts_r_is_not():
    rho, rule = 0.6, KeepHard(1.0)
    misprint = derive.theorem1((derive.SINE * derive.beta, derive.rho * derive.beta_tilde))
    _, squared_norm = theorem1_of(misprint, rule.moments(rho), rho, 0.5, 0.01)
    assert abs(squared_norm / predict(Problem(rule, rho, 0.5, 0.01)).squared_norm - 1) > 0.1


@pytest.mark.parametrize(("phase", "phi"), [("phi < p", 0.2), ("phi > p", 1.3)])
def test_the_limit_of_theorem1_is_corollary1(derived, phase, phi):
    moments = KeepHard(ALPHA).moments(RHO)  # p from 0.24 to 1
    _, overlap, squared_norm = corollary1(*moments, RHO, phi)
    for name, got in (("overlap", overlap), ("squared_norm", squared_norm)):
        want = numeric(derived["corollary1"].results[f"{name}, {phase}"], *SYMBOLS)(*moments, RHO, phi)
        assert_allclose(got, want, rtol=1e-9)


def test_a_misprint_in_the_corollary_would_be_noticed(monkeypatch):
    printed = derive._printed_corollary1()
    (a, b), *_ = printed.values()
    monkeypatch.setattr(derive, "_printed_corollary1", lambda: {**printed, "phi < p": (2 * a, b)})
    identities = derive.corollary1.__wrapped__().identities
    assert [value == 0 for value in identities.values()] == [False, True]


def test_the_scaling_of_plain_data(derived):
    results = derived["scaling"].results
    phi, flips = np.array([1e-3, 1e-4]), np.array([[0.0], [0.2]])
    c = 1 - 2 * flips
    constant, following = (numeric(results[name], derive.clean)(c) for name in ("constant", "next"))
    assert constant[0, 0] == pytest.approx(0.2405, abs=5e-5)
    assert float(results["constant, clean labels"]) == pytest.approx(constant[0, 0], rel=1e-14)
    error = keep_hard_law(0.0, phi, flips)
    assert_allclose(error / np.sqrt(phi), np.broadcast_to(constant, error.shape), rtol=2e-3)
    gap = error - np.sqrt(phi) * constant
    assert_allclose(gap / phi**1.5, np.broadcast_to(following, error.shape), rtol=5e-3)


def test_the_keep_hard_law(derived):
    results, rho, psi, flip = derived["keep-hard"].results, 0.8, 0.4, 0.1
    law = numeric(results["tan2, keep-hard"], derive.rho, derive.psi, derive.clean)(rho, psi, 1 - 2 * flip)
    assert np.arctan(np.sqrt(law)) / np.pi == pytest.approx(keep_hard_law(rho, psi, flip), rel=1e-13)
    contraction = numeric(results["contraction"], derive.psi)
    grid = np.linspace(0.05, 0.6, 1000)
    assert grid[np.argmin(grid * np.log(contraction(grid)))] == pytest.approx(float(results["best psi"]), abs=1e-3)
    # a round of practice on fresh rows, from a small error
    error = 1e-4
    p = float(KeepHard(1e-3 * error).moments(0.0).p)
    step = predict(Problem(KeepHard(1e-3 * error), np.cos(np.pi * error), 0.25 * p, 0.0)).test_error / error
    assert step == pytest.approx(contraction(0.25), rel=1e-4)
    assert float(results["d ln(E) / d(kept rows per dimension)"]) == pytest.approx(-0.211, abs=5e-4)
