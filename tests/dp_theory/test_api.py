"""One face for every kind of problem: who answers, in what protocol, and how it refuses."""

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest

from dp_theory import (
    LOGISTIC,
    Addition,
    Group,
    KeepHard,
    PracticePrediction,
    PracticeProblem,
    Problem,
    SpanProblem,
    Window,
    predict,
    simulate,
)
from tests.refusals import refusal, refused

THEOREM = Problem(KeepHard(0.5), 0.8, 0.5, 0.02)
SPAN = SpanProblem((1.0, 0.0), [Group(along=(0.8, 0.6), keep=KeepHard(0.5))], 0.5, 0.02)
LOOP = PracticeProblem(0.5, 0.02, [Addition(1, keep=KeepHard(0.5))] * 2)
PROTOCOL = ["test_error", "overlap", "squared_norm", "keep_fraction", "certificate"]
SIMULATED = [name for quantity in PROTOCOL[:3] for name in (quantity, f"{quantity}_se")] + ["d", "trials", "seed"]


@pytest.mark.parametrize("problem", [THEOREM, SPAN, replace(SPAN, loss=LOGISTIC), LOOP])
def test_every_kind_answers_the_same_protocol(problem):
    prediction, simulation = predict(problem), simulate(problem, 20, 4, seed=3)
    assert [field.name for field in fields(prediction)][:5] == PROTOCOL
    assert [field.name for field in fields(simulation)][:9] == SIMULATED
    assert (simulation.d, simulation.trials, simulation.seed) == (20, 4, 3)
    assert simulate(problem, 20, 4, seed=3) == simulation
    assert np.all(simulate(problem, 20, 4, seed=4).test_error != simulation.test_error)
    shape = (3,) if problem is LOOP else ()
    for record, names in ((prediction, PROTOCOL), (simulation, SIMULATED[:6])):
        assert {np.shape(getattr(record, name)) for name in names} == {shape}
    assert 0 < np.max(prediction.certificate) < 1e-7
    if problem is LOOP:  # which answers more
        assert isinstance(prediction, PracticePrediction)
        assert prediction.problem is LOOP


test_what_cannot_be_answered_is_refused_in_one_line = refused(
    {
        "engine = 'law' draws a Problem only: take 'dense' for a SpanProblem": lambda: simulate(SPAN, 20, engine="law"),
        "d is missing": lambda: simulate(THEOREM),
        "d = 8 must be the length .*, 9": lambda: simulate(PracticeProblem(0.5, 0.1, spectrum=np.ones(9)), 8),
        "d = 8 must be the length": lambda: simulate(SpanProblem(np.ones(7), [Group()], 0.5, 0.1, np.ones(7)), 8),
        "must be a Problem, a SpanProblem, a PracticeProblem or a SoftmaxProblem": lambda: predict("KeepHard"),
    }
)


def problem(number):
    return Problem(KeepHard(np.array([0.5, number])), [0.5, number / 9], 0.5, 0.01)


def loop(number):
    return PracticeProblem(0.5, (1, 2), [Window(number)])


@pytest.mark.parametrize(
    "made",
    [
        problem,
        lambda number: predict(problem(number)),
        lambda number: SpanProblem((1, 0), [Group(along=np.array([0.8, number])), Group()], 0.5, 0.1),
        loop,
        lambda number: predict(loop(number)),
    ],
)
def test_problems_rules_and_predictions_are_equal_by_value(made):
    one, other = made(2), pickle.loads(pickle.dumps(made(2.0)))
    assert one == other
    assert hash(one) == hash(other)
    assert one != made(3)


def test_a_computed_cosine_may_be_an_ulp_beyond_one():
    assert predict(Problem(KeepHard(0.5), 1 + 4e-16, 0.5, 0.01)) == predict(Problem(KeepHard(0.5), 1.0, 0.5, 0.01))
    with refusal(r"rho = 1.0000001 must lie in \[-1, 1\]"):
        Problem(KeepHard(0.5), 1.0000001, 0.5, 0.01)
