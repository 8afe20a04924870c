"""The predicted loop: reference values, limits that other theory knows, and what it refuses."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dp_theory import (
    Addition,
    Agree,
    ConvergenceError,
    Entropy,
    PracticeProblem,
    Verifier,
    Window,
    predict,
)
from tests.dp_theory.agreement import outputs
from tests.dp_theory.loop.loops import HARD, L1, R11, R13, R15, R15_VERIFIER, selected
from tests.dp_theory.verification.beyond import SOFT

WINDOWS = PracticeProblem(0.25, 1e-6, [Window(1)] * 7)


@pytest.mark.parametrize(
    ("loop", "errors"),
    [
        (R11, [0.203146, 0.139504, 0.101217, 0.077529]),
        (R13, [0.017771, 0.027178, 0.013302, 0.009691]),
        (R15, [0.271840, 0.219542, 0.193294]),
        (R15_VERIFIER, [0.208016]),
        (L1, [0.148435]),
        (WINDOWS, [0.014968]),
    ],
)
def test_reference_values(loop, errors):
    """Evaluated elsewhere, and simulated there at d = 300 to 1000; the last stages, to all printed digits."""
    answer = predict(loop)
    assert_allclose(answer.test_error[-len(errors) :], errors, atol=5.1e-7)
    assert np.all(answer.certificate < 1e-12)


# -- limits that other theory knows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "addition",
    [
        Addition(2, keep=HARD, weight=3.0),
        Addition(2, keep=Agree()),
        Addition(2, keep=HARD, flip=SOFT),
        Addition(2, keep=Entropy(3.0, 2.0), weight=Verifier(4.0)),
    ],
    ids=str,
)
@pytest.mark.parametrize("flip", [0.0, 0.1])
def test_fresh_data_is_the_span_recipe(addition, flip):
    """Second stage, every kind of rule: the same problem in the span recipe's own words."""
    answer = predict(PracticeProblem(0.5, 0.02, [addition], accumulate=False, flip=flip))
    rho = np.cos(np.pi * answer.test_error[0])
    rows = {"flip": addition.flip or flip, "keep": addition.keep, "weight": addition.weight}
    expected = predict(selected(rho, 0.5, 0.02, ratio=2.0, **rows))
    assert_allclose(outputs(answer)[:, 1], outputs(expected), rtol=1e-9)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_what_double_precision_cannot_resolve_is_refused():
    with pytest.raises(ConvergenceError, match=r"stage 16: test error .* ask for fewer rounds"):
        predict(PracticeProblem(0.25, 0.0, [Window(1)] * 30, accumulate=False))


def test_loops_of_hardly_any_ridge_are_known_as_well_as_others():
    """What their residual leaves of responses that count for nothing is no error; the last was refused for it."""
    loop = [Addition(kept=1.6, keep=HARD)] * 3
    larger, small, least = (predict(PracticeProblem(3.0, lam, loop)) for lam in (1e-7, 2e-9, 1e-12))
    assert max(small.certificate.max(), least.certificate.max()) < 1e-11
    assert_allclose(small.test_error, larger.test_error, rtol=1e-5)
    assert_allclose(least.test_error, small.test_error, rtol=1e-7)
