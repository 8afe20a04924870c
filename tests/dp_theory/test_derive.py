"""What the page of derivations derives is what the code computes; test_certificates.py has its lemmas and Theorem 1."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dp_theory import KeepHard, PracticeProblem, Window, corollary1, predict
from tests.dp_theory.budgets.laws import keep_hard_law
from tests.dp_theory.ridge.printed import function, page


@pytest.mark.parametrize(("phase", "phi"), [(0, 0.2), (1, 1.3)])
def test_the_limit_of_theorem1_is_corollary1(phase, phi):
    rho = np.array([[-0.6], [0.0], [0.4], [0.95]])
    known = *KeepHard(np.array([0.3, 0.8, 1.5, 3.0])).moments(rho), rho, phi  # p from 0.24 to 1
    derived = function("corollary1", "p gamma beta beta_tilde rho phi", "numpy")(*known)[phase]
    for got, want in zip(corollary1(*known)[1:], derived, strict=True):
        assert_allclose(got, want, rtol=1e-9)


def test_the_laws():
    phi, flips = np.array([1e-3, 1e-4]), np.array([[0.0], [0.2]])
    constant, following = (function(name, "c", "numpy")(1 - 2 * flips) for name in ("constant", "following"))
    assert constant[0, 0] == pytest.approx(0.2405, abs=5e-5)
    error = keep_hard_law(0.0, phi, flips)
    assert_allclose(error / np.sqrt(phi), np.broadcast_to(constant, error.shape), rtol=2e-3)
    gap = error - np.sqrt(phi) * constant
    assert_allclose(gap / phi**1.5, np.broadcast_to(following, error.shape), rtol=5e-3)
    law = function("of_hard", "rho psi c", "numpy")(0.8, 0.4, 0.8)
    assert np.arctan(np.sqrt(law)) / np.pi == pytest.approx(keep_hard_law(0.8, 0.4, 0.1), rel=1e-13)


def test_rounds_of_narrow_windows_on_fresh_rows_contract_a_small_error():
    contraction = function("contraction", "psi", "numpy")
    grid = np.linspace(0.05, 0.6, 1000)
    assert grid[np.argmin(grid * np.log(contraction(grid)))] == pytest.approx(float(page()["best_psi"]), abs=1e-3)
    errors = predict(PracticeProblem(0.25, 0.0, [Window(0.02)] * 10, accumulate=False)).test_error
    assert errors[-1] < 1e-4
    assert_allclose(errors[3:] / errors[2:-1], contraction(0.25), rtol=2e-3)
