"""Wherever a rule is taken its parameters may be arrays: a batch is a loop, on every field that is answered."""

from dataclasses import fields, replace

import numpy as np
import pytest

from dp_theory import (
    LOGISTIC,
    Addition,
    Direct,
    Entropy,
    Group,
    KeepEasy,
    KeepHard,
    PracticeProblem,
    Problem,
    Random,
    SoftmaxProblem,
    SpanProblem,
    Verifier,
    Window,
    make_selection,
    predict,
    row_errors,
    simulate,
)
from dp_theory.loop.prediction import PracticePrediction
from tests.dp_theory.rules.reference import WindowByQuadrature

ALPHA = np.array([[0.4], [0.9]])
PHI = np.array([0.3, 0.8, 1.5])
PRUNER, OTHER = (0.8, 0.6, 0.0), (0.5, -0.5, 0.7)

RULES = {
    "keep-hard": KeepHard(ALPHA),
    "keep-easy": KeepEasy(ALPHA),
    "random": Random(ALPHA / 2),
    "entropy": Entropy(3 * ALPHA, np.array([1.0, 2.0, 4.0])),
    "direct": Direct(KeepEasy(ALPHA)),
    "by quadrature": WindowByQuadrature(ALPHA),
    "direct, by quadrature": Direct(WindowByQuadrature(ALPHA)),
}
SPANS = {
    "one group": SpanProblem((1, 0, 0), [Group(along=PRUNER, keep=KeepHard(ALPHA))], PHI, 0.01),
    "by quadrature": SpanProblem((1, 0, 0), [Group(along=PRUNER, keep=WindowByQuadrature(ALPHA))], PHI, 0.01),
    "two groups": SpanProblem(
        (1, 0, 0),
        [Group(0.5, along=PRUNER, keep=KeepHard(ALPHA), weight=Verifier(2)), Group(along=OTHER, keep=KeepEasy(PHI))],
        0.4,
        np.array([0.02, 0.0, 1.0]),
    ),
    "spectrum": SpanProblem(
        np.ones(9), [Group(along=np.arange(9), keep=KeepHard(ALPHA))], PHI, 0.1, np.arange(1.0, 10)
    ),
    "logistic": SpanProblem((1, 0, 0), [Group(along=PRUNER, keep=KeepHard(ALPHA[:1]))], PHI[:2], 0.1, loss=LOGISTIC),
}
LOOPS = {
    "accumulated": PracticeProblem(0.5, 0.02, [Addition(1, keep=KeepHard(ALPHA)), Addition(2, keep=KeepEasy(PHI))]),
    "newest rows": PracticeProblem(0.5, 0.02, [Addition(1, keep=Entropy(4 * ALPHA)), Window(2)], accumulate=False),
}


def alone(problem, index):
    """The scalar problem at `index`, made without the code under test."""

    def at(value):
        return float(np.broadcast_to(value, problem.shape)[index])

    def pick(rule):
        if isinstance(rule, Direct):
            return Direct(pick(rule.rule))
        return type(rule)(**{field.name: at(getattr(rule, field.name)) for field in fields(rule)})

    if isinstance(problem, Problem):
        return Problem(pick(problem.rule), at(problem.rho), at(problem.phi), at(problem.lam))
    if isinstance(problem, SpanProblem):
        groups = [replace(group, keep=pick(group.keep)) for group in problem.groups]
        return replace(problem, groups=groups, phi=at(problem.phi), lam=at(problem.lam))
    additions = [replace(a, keep=pick(a.keep)) if isinstance(a, Addition) else a for a in problem.additions]
    return replace(problem, additions=additions)


def assert_batch_is_loop(problem, answer, rtol=0.0):
    """Field by field; what both share (d, trials, seed, the problem) aside."""
    batch = answer(problem)
    compared = 0
    for index in np.ndindex(problem.shape):
        single = answer(alone(problem, index))
        for field in fields(batch):
            got, want = getattr(batch, field.name), getattr(single, field.name)
            if field.name == "additions":
                assert [repr(rows) for rows in got[index]] == [repr(rows) for rows in want]
            elif isinstance(got, np.ndarray) and field.name != "problem":
                assert got.shape == (*problem.shape, *np.shape(want))
                np.testing.assert_allclose(got[index], want, rtol=rtol, atol=rtol, err_msg=field.name)
                compared += 1
    return compared


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_predictions(rule):
    problem = Problem(rule, 0.7, PHI, np.array([0.0, 1e-3, 1.0]))
    assert problem.shape == (2, 3)
    assert assert_batch_is_loop(problem, predict, rtol=1e-14) == 5 * 6


@pytest.mark.parametrize("engine", ["dense", "law"])
def test_simulations(engine):
    problem = Problem(Direct(WindowByQuadrature(ALPHA)), 0.7, PHI, 0.05)
    assert assert_batch_is_loop(problem, lambda p: simulate(p, 12, 3, engine=engine, seed=2)) == 6 * 6


@pytest.mark.parametrize("problem", SPANS.values(), ids=SPANS)
def test_span_predictions(problem):
    cells = int(np.prod(problem.shape))
    assert cells in (2, 6)
    assert assert_batch_is_loop(problem, predict, rtol=1e-13) == 5 * cells


@pytest.mark.parametrize("problem", SPANS.values(), ids=SPANS)
def test_span_simulations(problem):
    d = None if problem.spectrum is not None else 12
    compared = assert_batch_is_loop(problem, lambda p: simulate(p, d, 2, seed=2), rtol=1e-12)
    assert compared == 6 * np.prod(problem.shape)


@pytest.mark.parametrize("problem", LOOPS.values(), ids=LOOPS)
def test_loop_predictions(problem):
    batch = predict(problem)
    assert batch.test_error.shape == (*problem.shape, 3)
    assert batch.covariance.shape == (*problem.shape, 3, 3)
    assert batch.additions.shape == (*problem.shape, 2)
    assert assert_batch_is_loop(problem, predict, rtol=1e-13) == 10 * np.prod(problem.shape)
    errors = row_errors(batch, 0)
    for index in np.ndindex(problem.shape):
        scalar = predict(alone(problem, index))
        assert isinstance(scalar, PracticePrediction)
        np.testing.assert_allclose(errors[index], row_errors(scalar, 0), rtol=1e-12)


@pytest.mark.parametrize("problem", LOOPS.values(), ids=LOOPS)
def test_loop_simulations(problem):
    compared = assert_batch_is_loop(problem, lambda p: simulate(p, 12, 3, seed=2), rtol=1e-10)
    assert compared == 9 * np.prod(problem.shape)


@pytest.mark.parametrize(
    "problem",
    [
        Problem(KeepHard(1.0), 0.9, np.array([]), 0.1),
        SoftmaxProblem(3, make_selection("keep-all", 3), 0.9, np.array([]), 0.1),
    ],
)
def test_no_problem_has_no_answer(problem):
    assert predict(problem).test_error.shape == (0,)
    assert simulate(problem, 12, 2).test_error_se.shape == (0,)
