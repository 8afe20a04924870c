"""Rows are drawn in parts where few are kept, and more rows than any experiment has are refused."""

import numpy as np
import pytest

from dp_base.errors import MissingError
from dp_theory import (
    Addition,
    Entropy,
    KeepAll,
    KeepHard,
    PracticeProblem,
    Problem,
    SoftmaxProblem,
    make_selection,
    simulate,
    sweep,
)
from dp_theory.loop.experiment import draw_rows
from dp_theory.loop.groups import PlacedRows
from tests.refusals import refusal, refused

AT_ONCE = 1 << 21  # numbers


class Recorder(np.random.Generator):
    """Remembers how many normals were asked for at once."""

    largest = 0

    def standard_normal(self, size=None, *args, **kwargs):
        self.largest = max(self.largest, int(np.prod(size or 1)))
        return super().standard_normal(size, *args, **kwargs)


def test_a_rule_draws_in_parts():
    rng = Recorder(np.random.SFC64(0))
    rule = Entropy.with_keep_fraction(0.02)
    t = rule.draw(rng, 50_000)
    assert rng.largest <= AT_ONCE
    moments = rule.moments(0.0)
    assert len(t) == 50_000
    assert np.mean(t**2) == pytest.approx(moments.gamma / moments.p, rel=0.03)


def test_a_loop_draws_its_candidates_in_parts():
    rng, rule = Recorder(np.random.SFC64(0)), KeepHard(2e-3)
    rows = Addition(candidates=1000.0, keep=rule)
    along = np.ones(3) / np.sqrt(3)
    z, y, _ = draw_rows(PlacedRows.of(rows, 0.1, np.eye(3)[0], along), 3000, rng)
    assert rng.largest <= AT_ONCE
    assert len(y) == len(z) == pytest.approx(3e6 * rule.moments(0.0).p, abs=4 * np.sqrt(4800))
    assert np.abs(z @ along).max() <= 2e-3 + 1e-12


@pytest.mark.parametrize(
    ("experiment", "smaller"),
    [
        (lambda: simulate(Problem(KeepHard(0.5), 0.9, 1e-3, 0.1), 50_000, 1), "20,000 GB .* or the engine law"),
        (lambda: sweep(d=10**6, n=10**7, trials=1, engine="dense"), "80,000 GB .* or the engine law"),
        (lambda: simulate(PracticeProblem(0.5, 0.1), 10**6, 1), "24,000 GB .* fewer kept rows"),
        (lambda: simulate(SoftmaxProblem(2, make_selection("keep-all", 2), 0.5, 1.0, 0.1), 10**6, 1), "8,000 GB"),
    ],
)
def test_what_takes_more_memory_than_there_is_says_how_much_and_what_takes_less(experiment, smaller):
    with refusal(smaller, MissingError):
        experiment()


def test_products_of_rows_count_beside_rows(patch):
    experiment = Problem(KeepAll(), 0.9, 1.0, 0.1)
    patch("os.sysconf", lambda name: 1000)  # a megabyte: the rows have a third of it
    with refusal("takes 0 GB of memory, .* or the engine law", MissingError):
        simulate(experiment, 200, 1)
    assert simulate(experiment, 150, 1).d == 150


HARDEST = Addition(kept=1, keep=KeepHard(1e-13))
test_too_many_rows_are_refused = refused(
    {
        r"d/phi = 1e\+14.* must be at most 1e": lambda: simulate(Problem(KeepHard(1.0), 0.9, 1e-12, 0.1), 100, 1),
        "candidates = 2.* must be at most 1e": lambda: simulate(PracticeProblem(0.5, 0.1, [HARDEST]), 9, 1),
        "size/p = 2.* must be at most 1e": lambda: sweep(1e-13, d=16, trials=1, n=[16], rules=["entropy"]),
    }
)
