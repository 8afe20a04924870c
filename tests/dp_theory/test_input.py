"""What is no number, has no common shape or is no whole number is refused in one line, wherever it is given."""

import numpy as np
import pytest

from dp_theory import (
    Addition,
    Direct,
    Entropy,
    Group,
    InputError,
    KeepHard,
    PracticeProblem,
    Problem,
    Random,
    SpanProblem,
    SymmetricRule,
    Window,
    corollary1,
    predict,
    simulate,
    sweep,
    theorem1,
)
from dp_theory.budgets.optimum import least_error, optimum
from tests.mistyped import mistyped

HARD = KeepHard(1.0)
PROBLEM = Problem(HARD, 0.5, 0.5, 0.1)
MOMENTS = HARD.moments(0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Problem(HARD, "a", 0.5, 0.1), "rho = 'a' must be a real number"),
        (lambda: Problem(HARD, None, 0.5, 0.1), "rho = None must be a real number"),
        (lambda: Problem(HARD, 1j, 0.5, 0.1), "rho = 1j must be a real number"),
        (lambda: Problem(HARD, [[1], [1, 2]], 0.5, 0.1), "must be a real number, or an array of such"),
        (lambda: Problem(KeepHard(np.ones(3)), np.ones(2), 0.5, 0.1), r"do not broadcast: alpha \(3,\), rho \(2,\)"),
        (lambda: KeepHard(None), "alpha = None must be a real number"),
        (lambda: Entropy("a"), "omega = 'a' must be a real number"),
        (lambda: Random("a"), "keep = 'a' must be a real number"),
        (lambda: Entropy.with_keep_fraction([0.1, 1e-300]), "keep = 1e-300 must be at least 1e-14"),
        (lambda: KeepHard.with_keep_fraction(None), "keep = None must be a real number"),
        (lambda: simulate(PROBLEM, mistyped(10.0)), "d = 10.0 must be a whole number"),
        (lambda: simulate(PROBLEM, 10, trials=mistyped(2.5)), "trials = 2.5 must be a whole number"),
        (lambda: simulate(PROBLEM, 10, seed=-1), "seed = -1 must be at least 0"),
        (lambda: predict(PROBLEM, d=mistyped(10.5)), "d = 10.5 must be a whole number"),
        (lambda: predict(PROBLEM, tolerance=mistyped("a")), "tolerance = 'a' must be a real number"),
        (lambda: PracticeProblem(mistyped("a"), 0.1), "phi = 'a' must be a real number"),
        (lambda: PracticeProblem(mistyped(np.array([0.1, 0.2])), 0.1), r"phi has shape \(2,\): it must be one number"),
        (lambda: PracticeProblem(0.5, 0.1, mistyped([3])), r"additions\[0\] = 3 must be an Addition"),
        (lambda: predict(PracticeProblem(0.5, 0.1, [mistyped(lambda error: 3)])), r"additions\[0\] answers 3"),
        (lambda: Addition(mistyped("a")), "candidates = 'a' must be a real number"),
        (lambda: Addition(1, keep=mistyped("easy")), "keep = 'easy' must be a rule or a function"),
        (lambda: Window(mistyped([1.0, 2.0])), "kappa has shape"),
        (lambda: SpanProblem((1, 0), [Group()], None, 0.1), "phi = None must be a real number"),
        (lambda: SpanProblem((1, 0), [Group()], np.ones(2), np.ones(3)), "do not broadcast: phi"),
        (lambda: SpanProblem("ab", [Group()], 0.1), "truth = 'ab' must be a real number"),
        (lambda: SpanProblem((1, 0), mistyped([3]), 0.1), "must be a list of Groups"),
        (lambda: Group(ratio=mistyped(None)), "ratio = None must be a real number"),
        (lambda: optimum("a", psi=0.5), "rho = 'a' must be a real number"),
        (lambda: least_error("keep-hard", 0.9, "a"), "psi = 'a' must be a real number"),
        (lambda: sweep(mistyped("a")), "alpha = 'a' must be a real number"),
        (lambda: sweep(0.5, n=mistyped("a")), "n = 'a' must be a real number"),
        (lambda: corollary1(*MOMENTS, 0.9, "a"), "phi = 'a' must be a real number"),
        (lambda: predict(PROBLEM, tolerance=-1.0), "tolerance = -1 must be positive"),
        (lambda: predict(PROBLEM, tolerance=np.nan), "tolerance = nan must be positive"),
        (lambda: simulate(PROBLEM, 10, workers=0), "workers = 0 must be at least 1"),
        (lambda: simulate(PROBLEM, 10, workers=mistyped(1.5)), "workers = 1.5 must be a whole number"),
        (lambda: sweep(seed=-1), "seed = -1 must be at least 0"),
        (lambda: sweep(direct_cost=mistyped("a")), "direct_cost = 'a' must be a real number"),
        (lambda: sweep([]), "alpha is empty"),
        (lambda: sweep(n=[]), "n is empty"),
        (lambda: optimum(np.array([]), psi=0.5), "rho is empty"),
        (lambda: optimum(0.9, budget=1.0, direct_cost=mistyped("a")), "direct_cost = 'a' must be a real number"),
        (lambda: SymmetricRule(np.cos, mistyped(0.3)), "breaks = 0.3 must be a sequence of numbers"),
        (lambda: Group(along=(1, 0), breaks=mistyped(0.3)), "breaks = 0.3 must be a sequence of numbers"),
        (lambda: Group(along=np.eye(2), breaks=(0.3, 0.4)), "breaks = 0.3 must be a sequence of numbers"),
        (lambda: Addition(1, breaks=mistyped(0.3)), "breaks = 0.3 must be a sequence of numbers"),
        (lambda: Direct(mistyped(3)), "rule = 3 must be a rule"),
        (lambda: SpanProblem((1, 0), [Group()], 0.5, loss=mistyped("logistic")), "loss = 'logistic' must be a Loss"),
        (lambda: theorem1(*MOMENTS, 0.9, None, 0.1), "phi = None must be a real number"),
    ],
)
def test_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message) as refused:
        call()
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 200


def test_corollary_1_at_the_peak_says_so_without_a_warning():
    error, _, squared_norm = corollary1(*MOMENTS, 0.5, np.array([float(MOMENTS.p), 0.3]))
    assert error[0] == 0.5
    assert squared_norm[0] == np.inf
    assert error[1] < 0.2
