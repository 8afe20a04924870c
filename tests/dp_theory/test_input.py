"""What is no number, has no common shape or is no whole number is refused in one line, wherever it is given."""

import numpy as np

from dp_theory import (
    Addition,
    Direct,
    Entropy,
    Group,
    KeepAll,
    KeepHard,
    PracticeProblem,
    Problem,
    SpanProblem,
    SymmetricRule,
    Window,
    corollary1,
    influence,
    predict,
    sweep,
)
from dp_theory.budgets.optimum import optimum
from tests.refusals import refused

HARD = KeepHard(1.0)
PROBLEM = Problem(HARD, 0.5, 0.5, 0.1)
MOMENTS = HARD.moments(0.5)


test_refused_in_one_line = refused(
    (lambda: Problem(HARD, [[1], [1, 2]], 0.5, 0.1), "must be a real number, or an array of such"),
    (lambda: Problem(HARD, np.ma.masked_array([0.5, 0.6], [True, False]), 0.5, 0.1), "must be a real number, or an"),
    (lambda: Problem(KeepHard(np.ones(3)), np.ones(2), 0.5, 0.1), r"do not broadcast: alpha \(3,\), rho \(2,\)"),
    (lambda: Entropy.with_keep_fraction([0.1, 1e-300]), "keep = 1e-300 must be at least 1e-14"),
    (lambda: PracticeProblem(np.array([0.1, 0.2]), 0.1), r"phi has shape \(2,\): it must be one number"),
    (lambda: PracticeProblem(0.5, 0.1, [3]), r"additions\[0\] = 3 must be an Addition"),
    (lambda: predict(PracticeProblem(0.5, 0.1, [lambda error: 3])), r"additions\[0\] answers 3"),
    (lambda: Addition(1, keep="easy"), "keep = 'easy' must be a rule or a function"),
    (lambda: Window([1.0, 2.0]), "kappa has shape"),
    (lambda: SpanProblem((1, 0), [Group()], np.ones(2), np.ones(3)), "do not broadcast: phi"),
    (lambda: SpanProblem("ab", [Group()], 0.1), "truth = 'ab' must be a real number"),
    (lambda: SpanProblem((1, 0), [3], 0.1), "must be a list of Groups"),
    (lambda: corollary1(*MOMENTS, 0.9, "a"), "phi = 'a' must be a real number"),
    (lambda: sweep(n=[]), "n is empty"),
    (lambda: influence(HARD, "t", rho=0.5, phi=0.5, lam=0.1), "t = 't' must be a real number"),
    (lambda: influence(HARD, 1.0, [1, 0], rho=0.5, phi=0.5, lam=0.1), "y = 0 must be 1 or -1"),
    (lambda: influence(KeepAll(), 1.0, rho=0.5, phi=1.0, lam=0.0), "phi = 1 must differ from the kept fraction"),
    (lambda: optimum(np.array([]), psi=0.5), "rho is empty"),
    (lambda: SymmetricRule(np.cos, 0.3), "breaks = 0.3 must be a sequence of numbers"),
    (lambda: Group(along=(1, 0), breaks=0.3), "breaks = 0.3 must be a sequence of numbers"),
    (lambda: Direct(3), r"rule = 3 must be a rule, such as KeepHard\(alpha=0.8\) or SymmetricRule\(q\)"),
    (lambda: SymmetricRule(lambda t: t if t > 1 else 0).moments(0.5), r"q must be .* np.vectorize\(q\)"),
    (
        lambda: predict(SpanProblem((1,), [Group(along=(1,), keep=lambda t, y: y if t > 1 else 0)], 0.5, 0.1)),
        "keep must",
    ),
    (lambda: predict(SpanProblem((1, 0), [Group(weight="a")], 0.5, 0.1)), "weight = 'a' must be a real number"),
    (
        lambda: predict(SpanProblem((1, 0), [Group(keep=lambda y: np.ones(3))], 0.5, 0.1)),
        r"keep has shape \(3,\) for",
    ),
    (lambda: predict(Problem), "must be a Problem"),
    (lambda: SpanProblem((1, 0), [Group()], 0.5, loss="logistic"), "loss = 'logistic' must be a Loss"),
)


def test_corollary_1_at_the_peak_says_so_without_a_warning():
    error, _, squared_norm = corollary1(*MOMENTS, 0.5, np.array([float(MOMENTS.p), 0.3]))
    assert error[0] == 0.5
    assert squared_norm[0] == np.inf
    assert error[1] < 0.2
