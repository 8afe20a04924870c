"""The page of derivations runs, and what it derives is what the code computes."""

import re
from typing import Any

import numpy as np
import pytest
import sympy as sp
from numpy.testing import assert_allclose

from dp_theory import KeepEasy, KeepHard, PracticeProblem, Window, corollary1, predict, theorem1
from tests.dp_theory.budgets.laws import keep_hard_law
from tests.source import ROOT

ALPHA, RHO = np.array([0.3, 0.8, 1.5, 3.0]), np.array([[-0.6], [0.0], [0.4], [0.95]])
CODE = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs/theory/derivations.md").read_text(), re.S))


@pytest.fixture(scope="module")
def page():
    scope = {}
    exec(CODE, scope)
    return scope


def numeric(page, expression, names):
    return sp.lambdify([page[name] for name in names.split()], expression, modules=["numpy", "scipy"])


@pytest.mark.parametrize(("name", "rule"), [("lemma1", KeepHard), ("lemma2", KeepEasy)])
def test_the_lemmas_are_the_rules_moments(page, name, rule):
    for got, derived in zip(rule(ALPHA).moments(RHO), page[name], strict=True):
        want = numeric(page, derived, "alpha rho")(ALPHA, RHO)
        assert_allclose(*np.broadcast_arrays(got, want), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("rule", [KeepHard, KeepEasy])
def test_theorem1_as_printed_is_theorem1(page, rule):
    phi, lam = 0.7, np.array([[[0.01]], [[1.0]]])
    moments = rule(ALPHA).moments(RHO)
    m = (phi - moments.p - lam + np.sqrt((moments.p - phi + lam) ** 2 + 4 * phi * lam)) / (2 * phi * lam)
    theorem: Any = theorem1
    for got, name in zip(theorem(*moments, RHO, phi, lam)[1:], ("overlap", "norm"), strict=True):
        want = numeric(page, page[name], "p gamma beta beta_tilde rho phi lam m")(*moments, RHO, phi, lam, m)
        assert_allclose(got, want, rtol=1e-9)


@pytest.mark.parametrize(("phase", "phi"), [(0, 0.2), (1, 1.3)])
def test_the_limit_of_theorem1_is_corollary1(page, phase, phi):
    moments = KeepHard(ALPHA).moments(RHO)  # p from 0.24 to 1
    for got, derived in zip(corollary1(*moments, RHO, phi)[1:], page["corollary1"][phase], strict=True):
        want = numeric(page, derived, "p gamma beta beta_tilde rho phi")(*moments, RHO, phi)
        assert_allclose(got, want, rtol=1e-9)


def test_the_laws(page):
    phi, flips = np.array([1e-3, 1e-4]), np.array([[0.0], [0.2]])
    constant, following = (numeric(page, page[name], "c")(1 - 2 * flips) for name in ("constant", "following"))
    assert constant[0, 0] == pytest.approx(0.2405, abs=5e-5)
    error = keep_hard_law(0.0, phi, flips)
    assert_allclose(error / np.sqrt(phi), np.broadcast_to(constant, error.shape), rtol=2e-3)
    gap = error - np.sqrt(phi) * constant
    assert_allclose(gap / phi**1.5, np.broadcast_to(following, error.shape), rtol=5e-3)
    law = numeric(page, page["of_hard"], "rho psi c")(0.8, 0.4, 0.8)
    assert np.arctan(np.sqrt(law)) / np.pi == pytest.approx(keep_hard_law(0.8, 0.4, 0.1), rel=1e-13)


def test_rounds_of_narrow_windows_on_fresh_rows_contract_a_small_error(page):
    contraction = numeric(page, page["contraction"], "psi")
    grid = np.linspace(0.05, 0.6, 1000)
    assert grid[np.argmin(grid * np.log(contraction(grid)))] == pytest.approx(float(page["best_psi"]), abs=1e-3)
    errors = predict(PracticeProblem(0.25, 0.0, [Window(0.02)] * 10, accumulate=False)).test_error
    assert errors[-1] < 1e-4
    assert_allclose(errors[3:] / errors[2:-1], contraction(0.25), rtol=2e-3)
