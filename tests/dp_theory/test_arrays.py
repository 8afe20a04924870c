"""The parameters of a `Problem` may be arrays: a batch is a loop, on every field that is answered."""

from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest

from dp_theory import (
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
    SpanProblem,
    Window,
    make_rule,
    noise,
    optimum,
    predict,
    simulate,
    sweep,
)
from tests.dp_theory.rules.reference import WindowByQuadrature

ALPHA = np.array([[0.4], [0.9]])
PHI = np.array([0.3, 0.8, 1.5])
PRUNER = (0.8, 0.6, 0.0)

RULES = [
    KeepHard(ALPHA),
    KeepEasy(ALPHA),
    Random(ALPHA / 2),
    Entropy(3 * ALPHA, np.array([1.0, 2.0, 4.0])),
    Direct(KeepEasy(ALPHA)),
    WindowByQuadrature(ALPHA),
    Direct(WindowByQuadrature(ALPHA)),
]


def alone(problem, index):
    """The scalar problem at `index`, made without the code under test."""

    def at(value):
        return float(np.broadcast_to(value, problem.shape)[index])

    def pick(rule):
        if isinstance(rule, Direct):
            return Direct(pick(rule.rule))
        return type(rule)(**{field.name: at(getattr(rule, field.name)) for field in fields(rule)})

    return Problem(pick(problem.rule), at(problem.rho), at(problem.phi), at(problem.lam))


SIMULATED = Problem(Direct(WindowByQuadrature(ALPHA)), 0.7, PHI, 0.05)


@pytest.mark.parametrize(
    ("problem", "answer", "rtol"),
    [
        *((Problem(rule, 0.7, PHI, np.array([0.0, 1e-3, 1.0])), predict, 1e-14) for rule in RULES),
        (SIMULATED, partial(simulate, d=12, trials=3), 0.0),
        (SIMULATED, partial(simulate, d=12, trials=3, engine="law"), 0.0),
    ],
)
def test_a_batch_is_a_loop(problem, answer, rtol, patch):
    """Field by field, in several blocks; what both share (d, trials, seed, the problem) aside."""
    patch("dp_theory.ridge.theorem1._BLOCK", 4)
    patch("dp_theory.rules.base._CELLS", 3)
    batch = answer(problem)
    assert np.prod(problem.shape) in (2, 6)
    for index in np.ndindex(problem.shape):
        single = answer(alone(problem, index))
        names = [field.name for field in fields(batch) if isinstance(getattr(batch, field.name), np.ndarray)]
        assert {"test_error", "overlap", "squared_norm"} < set(names)
        for name in names:
            got, want = getattr(batch, name), getattr(single, name)
            assert got.shape == problem.shape
            np.testing.assert_allclose(got[index], want, rtol=rtol, atol=rtol, err_msg=name)


SPAN = SpanProblem((1, 0, 0), [Group(along=PRUNER, keep=KeepHard(0.4))], 0.3, 0.01)
LOOP = PracticeProblem(0.5, 0.02, [HARD := Addition(kept=0.7, keep=KeepHard(0.3))] * 2)
PRECISE = {
    "rule": lambda x: predict(Problem(KeepHard(x), 0.7, PHI, 0.1)),
    "rho": lambda x: predict(Problem(Random(0.5), x, PHI, 0.1), d=50),
    "finite d": lambda x: predict(Problem(KeepHard(0.5), 0.7, x / 9, 0.1), d=2000),
    "flip": lambda x: predict(replace(SPAN, groups=[Group(flip=x)])),
    "boundary flips": lambda x: (BoundaryFlips(x, x).signal, BoundaryFlips.of_share(x)),
    "phi": lambda x: predict(replace(LOOP, phi=x)),
    "kept": lambda x: predict(replace(LOOP, additions=[replace(HARD, kept=x), Window(x, x)])),
    "budget": lambda x: Budget(x, x, training=x, least=x).psi(0.3),
    "optimum": lambda x: optimum(x, budget=x, training_cost=x).to_dict(),
    "shares": lambda x: noise.shares(BoundaryFlips(x), x, x),
    "plain error": lambda x: noise.plain_error(BoundaryFlips(0.3), x),
    **{name: lambda x, name=name: make_rule(name, keep=x) for name in ("keep-hard", "keep-easy", "entropy")},
}


@pytest.mark.parametrize("answer", PRECISE.values(), ids=PRECISE)
def test_a_number_of_single_precision_is_the_double_that_it_equals(answer):
    single = np.float32(0.1)
    np.testing.assert_equal(answer(single), answer(float(single)))


def test_a_dimension_of_few_bits_is_the_whole_number_that_it_equals():
    assert predict(SIMULATED, d=np.int16(1000)) == predict(SIMULATED, d=1000)
    small, usual = (sweep(rules="random", d=d, trials=2).to_dict("list") for d in (np.int8(16), 16))
    np.testing.assert_equal(small, usual)


def test_no_problem_has_no_answer():
    problem = Problem(KeepHard(1.0), 0.9, np.array([]), 0.1)
    assert predict(problem).test_error.shape == (0,)
    assert simulate(problem, 12, 2).test_error_se.shape == (0,)
