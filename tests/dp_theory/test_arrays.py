"""Wherever a rule is taken its parameters may be arrays: a batch is a loop, on every field that is answered."""

from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest

from dp_theory import (
    LOGISTIC,
    Addition,
    BoundaryFlips,
    Budget,
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
    make_rule,
    make_selection,
    noise,
    optimum,
    predict,
    simulate,
)
from dp_theory.loop import PracticePrediction
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
    "first pool": PracticeProblem(0.5, 0.02, [Addition(1), Window(2)], initial=Addition(1, keep=KeepHard(ALPHA))),
    "newest rows": PracticeProblem(0.5, 0.02, [Addition(1, keep=Entropy(4 * ALPHA)), Window(2)], accumulate=False),
}


def simulated(problem):
    return simulate(problem, 12 if getattr(problem, "spectrum", None) is None else None, 2, seed=2)


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
    first = problem.initial
    first = replace(first, keep=pick(first.keep)) if isinstance(first, Addition) else first
    return replace(problem, initial=first, additions=additions)


SIMULATED = Problem(Direct(WindowByQuadrature(ALPHA)), 0.7, PHI, 0.05)
CASES = {
    **{name: (Problem(rule, 0.7, PHI, np.array([0.0, 1e-3, 1.0])), predict, 1e-14) for name, rule in RULES.items()},
    "dense engine": (SIMULATED, partial(simulate, d=12, trials=3), 0.0),
    "law engine": (SIMULATED, partial(simulate, d=12, trials=3, engine="law"), 0.0),
    **{f"span, {name}": (problem, predict, 1e-13) for name, problem in SPANS.items()},
    **{f"span, {name}, simulated": (problem, simulated, 1e-12) for name, problem in SPANS.items()},
    **{f"loop, {name}": (problem, predict, 1e-13) for name, problem in LOOPS.items()},
    **{f"loop, {name}, simulated": (problem, simulated, 1e-10) for name, problem in LOOPS.items()},
}


@pytest.mark.parametrize(("problem", "answer", "rtol"), CASES.values(), ids=CASES)
def test_a_batch_is_a_loop(problem, answer, rtol):
    """Field by field; what both share (d, trials, seed, the problem) aside."""
    batch = answer(problem)
    assert np.prod(problem.shape) in (2, 6)
    for index in np.ndindex(problem.shape):
        single = answer(alone(problem, index))
        names = [field.name for field in fields(batch) if isinstance(getattr(batch, field.name), np.ndarray)]
        assert {"test_error", "overlap", "squared_norm"} < set(names)
        for name in set(names) - {"problem"}:
            got, want = getattr(batch, name), getattr(single, name)
            if name == "additions":
                assert [repr(rows) for rows in got[index]] == [repr(rows) for rows in want]
            else:
                assert got.shape == (*problem.shape, *np.shape(want))
                np.testing.assert_allclose(got[index], want, rtol=rtol, atol=rtol, err_msg=name)
        if isinstance(batch, PracticePrediction):
            assert np.shape(single.test_error) == (3,)


SPAN, LOOP = SPANS["one group"], PracticeProblem(0.5, 0.02, [HARD := Addition(kept=0.7, keep=KeepHard(0.3))] * 2)
PRECISE = {
    "rule": lambda x: predict(Problem(KeepHard(x), 0.7, PHI, 0.1)),
    "rho": lambda x: predict(Problem(Random(0.5), x, PHI, 0.1), d=50),
    "finite d": lambda x: predict(Problem(KeepHard(0.5), 0.7, x / 9, 0.1), d=2000),
    "flip": lambda x: predict(replace(SPAN, groups=[Group(flip=x)])),
    "boundary flips": lambda x: (BoundaryFlips(x, x).signal, BoundaryFlips.of_share(x)),
    "phi": lambda x: predict(replace(LOOP, phi=x)),
    "kept": lambda x: predict(replace(LOOP, additions=[replace(HARD, kept=x), Window(x, x)])),
    "budget": lambda x: Budget.of(x, x, training_cost=x, smallest_keep=x).psi(0.3),
    "optimum": lambda x: optimum(x, budget=x, training_cost=x, keep=x, lam_per_row=x).to_dict(),
    "shares": lambda x: noise.shares(BoundaryFlips(x), x, x),
    "plain error": lambda x: noise.plain_error(BoundaryFlips(0.3), x),
    **{name: lambda x, name=name: make_rule(name, keep=x) for name in ("keep-hard", "keep-easy", "entropy")},
}


@pytest.mark.parametrize("answer", PRECISE.values(), ids=PRECISE)
def test_a_number_of_single_precision_is_the_double_that_it_equals(answer):
    single = np.float32(0.1)
    np.testing.assert_equal(answer(single), answer(float(single)))


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
