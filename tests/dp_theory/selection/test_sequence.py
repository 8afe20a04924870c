"""The best rules of the practice loop, round by round or all together, and the best constant window."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dp_base.errors import InputError
from dp_theory import (
    Addition,
    Bands,
    BoundaryFlips,
    KeepAll,
    KeepHard,
    PracticeProblem,
    Window,
    best_sequence,
    predict,
)
from dp_theory.selection import best_window

LOOP = PracticeProblem(0.25, 1e-6)
RIDGELESS = PracticeProblem(0.25, 0.0)


@pytest.mark.parametrize(
    ("size", "rounds"), [pytest.param({"kept": 1.0}, 1, marks=pytest.mark.slow), ({"candidates": 1.0}, 2)]
)
def test_a_greedy_sequence_is_best_round_by_round(size: dict[str, Any], rounds: int):
    found = best_sequence(LOOP, rounds, least=0.1, **size)
    assert predict(found.problem).test_error == pytest.approx(found.test_error, rel=1e-7)
    assert np.all(found.gap < 0.01 * found.test_error[1:])
    for number in range(rounds):
        before = list(found.problem.additions[:number])
        margin = found.margins[number]
        for low, high in ((0.0, 0.3), (0.0, 1.0), (0.0, 2.0), (0.5, 2.0), (1.0, 4.0)):
            window = Bands(((low * margin, high * margin),)).rule
            if "candidates" in size or window.moments(0.5).p > 0.1:
                rows = Addition(**size, keep=window)
                other = predict(replace(LOOP, additions=[*before, rows])).test_error[-1]
                assert other > found.test_error[number + 1] * (1 - 1e-9)


@pytest.mark.slow
def test_a_round_is_no_worse_than_any_simple_rule():
    """With large rounds the error has valleys with an edge, in which a few steps from two starts got stuck."""
    found = best_sequence(RIDGELESS, 2, kept=100.0)
    assert np.all(found.gap < 0.1 * found.test_error[1:])
    before = found.problem.additions[:1]
    for rule in (KeepAll(), *map(KeepHard, np.geomspace(0.05, 4, 40))):
        rows = Addition(kept=100.0, keep=rule)
        error = predict(replace(RIDGELESS, additions=[*before, rows])).test_error[-1]
        assert found.test_error[-1] < error


@pytest.mark.slow
def test_a_round_that_sees_labels_keeps_no_band_of_nothing():
    found = best_sequence(RIDGELESS, 2, kept=1.0, labels=True)
    assert np.all(found.gap < 1e-3)


def test_all_rounds_together_are_no_worse():
    greedy = best_sequence(LOOP, 2, candidates=1.0)
    full = best_sequence(LOOP, 2, candidates=1.0, full=True)
    kappa, window = best_window(LOOP, 2, candidates=1.0)
    assert full.test_error[-1] < greedy.test_error[-1] * (1 - 1e-8)
    assert full.test_error[1] > greedy.test_error[1]
    assert full.test_error[-1] < window[-1]
    assert 1 < kappa < 3


def test_labels_help():
    greedy = best_sequence(LOOP, 1, candidates=1.0)
    seeing = best_sequence(LOOP, 1, candidates=1.0, labels=True)
    assert seeing.test_error[1] < greedy.test_error[1]
    assert predict(seeing.problem).test_error == pytest.approx(seeing.test_error, rel=1e-7)


def test_a_least_share_bounds_rules_and_windows():
    """Neither keeps less than nine of ten rows."""
    bounded = best_sequence(LOOP, 1, candidates=1.0, least=0.9)
    _, widest = best_window(LOOP, 1, candidates=1.0, least=0.9)
    assert bounded.test_error[-1] < widest[-1] * (1 + 1e-6)


@pytest.mark.parametrize(
    ("problem", "size", "message"),
    [
        (PracticeProblem(0.25, 0.1, accumulate=False), {"kept": 1.0}, "accumulated"),
        (PracticeProblem(0.25, 0.1, spectrum=np.ones(3)), {"kept": 1.0}, "accumulated"),
        (PracticeProblem(0.25, 0.1, flip=BoundaryFlips(0.1)), {"kept": 1.0}, "one probability"),
        (LOOP, {}, "exactly one"),
    ],
)
def test_other_loops_are_refused(problem: PracticeProblem, size: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        best_sequence(problem, 2, **size)


# -- windows ----------------------------------------------------------------------------------------------------------


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
