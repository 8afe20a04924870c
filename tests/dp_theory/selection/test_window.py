"""The best constant window of a practice loop."""

from dataclasses import replace

import numpy as np
import pytest

from dp_theory import Addition, KeepHard, PracticeProblem, Window, predict
from dp_theory.selection.window import best_window

RIDGELESS = PracticeProblem(0.25, 0.0)


def test_the_best_window_is_the_better_of_two_minima():
    """A narrow window, at which a bounded search ends, and a wide one."""
    problem = PracticeProblem(0.05, 0.0)
    margin = np.tan(np.pi * predict(problem).test_error[0])
    kappa, errors = best_window(problem, 1, candidates=5.0)
    wide = Addition(candidates=5.0, keep=KeepHard(5 * margin))
    assert kappa > 3
    assert errors[-1] < predict(replace(problem, additions=[wide])).test_error[-1] * (1 + 1e-9)


def test_the_best_window_may_be_wide():
    _, errors = best_window(RIDGELESS, 2, kept=300.0)
    for kappa in (10.0, 100.0, 1e4):
        other = predict(replace(RIDGELESS, additions=[Window(kappa, 300.0)] * 2))
        assert errors[-1] < other.test_error[-1] * (1 + 1e-9)


def test_the_best_window_may_keep_all():
    few = PracticeProblem(0.9, 0.0)
    kappa, errors = best_window(few, 1, candidates=0.1)
    assert kappa == np.inf
    assert errors == pytest.approx(predict(replace(few, additions=[Addition(candidates=0.1)])).test_error)
