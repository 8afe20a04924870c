"""Theorem 1 of rules of one's own and of lists; test_certificates.py has its printed formulas."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dp_theory import (
    LOGISTIC,
    Addition,
    ConvergenceError,
    Group,
    KeepHard,
    PracticeProblem,
    Problem,
    SpanProblem,
    SymmetricRule,
    corollary1,
    predict,
    theorem1,
)


def test_an_unresolved_jump_is_an_error_not_a_wrong_number():
    """A tolerance says how wrong it may be, of a rule as of a group's or a round's, under any loss."""
    rule = SymmetricRule(lambda t: np.sin(1e5 * t) > 0)
    span = SpanProblem((1.0, 0.0), [Group(along=(0.5, 0.75**0.5), keep=rule)], 0.5, 0.1)
    loop = PracticeProblem(0.5, 0.1, [Addition(1, keep=rule)])
    for problem in (plain := Problem(rule, 0.5, 0.5, 0.1), span, loop):
        with pytest.raises(ConvergenceError, match=r"certain to .* only, tolerance = 1e-0"):
            predict(problem)
    for problem in (plain, span):
        assert 1e-4 < predict(problem, tolerance=1e-2).certificate < 0.02
    for problem in (span, loop):
        with pytest.raises(ConvergenceError, match="1e-06: does q jump off its breaks"):
            predict(replace(problem, loss=LOGISTIC), tolerance=1e-6)


def test_jumps_and_narrow_features_of_a_rule_of_ones_own_are_found():
    own = predict(Problem(SymmetricRule(lambda t: t <= 0.7), 0.5, 0.5, 0.1))
    exact = predict(Problem(KeepHard(0.7), 0.5, 0.5, 0.1))
    assert abs(own.test_error / exact.test_error - 1) < min(own.certificate, 1e-9)
    narrow = SymmetricRule(lambda t: 0.01 + 0.9 * np.exp(-(((t - 1.2345) / 1e-3) ** 2)))
    mass = 0.01 + 0.9 * 1e-3 * np.sqrt(2) * np.exp(-(1.2345**2) / 2)  # both signs, to first order in the width
    np.testing.assert_allclose(predict(Problem(narrow, 0.9, 0.5, 0.01)).keep_fraction, mass, rtol=1e-6)


def test_lists_are_arrays():
    """Of the functions of moments too; and cells are rows of a frame."""
    given = [[float(value)] * 2 for value in KeepHard(0.5).moments(0.9)]
    theorem: Any = theorem1
    corollary: Any = corollary1
    problem = Problem(KeepHard(0.5), 0.9, [[0.2], [0.4]], [0.0, 0.1])
    frame = predict(problem).to_frame()
    assert frame.index.tolist() == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert frame["test_error"].tolist() == predict(problem).test_error.ravel().tolist()
    assert "<table" in predict(problem)._repr_html_()
    errors = predict(problem).test_error
    np.testing.assert_allclose(corollary(*given, 0.9, [0.2, 0.4])[0], errors[:, 0], rtol=1e-12)
    np.testing.assert_allclose(theorem(*given, 0.9, [[0.2], [0.4]], [0.0, 0.1])[0], errors, rtol=1e-12)
