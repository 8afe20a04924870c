"""What is no number, has no common shape or is no whole number is refused in one line, wherever it is given."""

import numpy as np

from dp_theory import (
    Addition,
    BoundaryFlips,
    Budget,
    Curve,
    Direct,
    Entropy,
    Features,
    Group,
    KeepHard,
    PracticeProblem,
    Problem,
    SpanProblem,
    SymmetricRule,
    Verifier,
    Window,
    best_selection,
    check,
    corollary1,
    fit,
    forecast,
    make_rule,
    make_selection,
    optimum,
    predict,
    scaling,
    simulate,
    sweep,
    theorem1,
)
from dp_theory.noise import worth
from dp_theory.verification import verify
from tests.refusals import refused

HUGE = 10**30
LONG = list(range(1000))
SPAN = SpanProblem((1, 0), [Group()], 0.5)
HARD = KeepHard(1.0)
PROBLEM = Problem(HARD, 0.5, 0.5, 0.1)
MOMENTS = HARD.moments(0.5)
CURVE = Curve("static", [100, 200, 400], [0.3, 0.2, 0.15], 0.01)


test_refused_in_one_line = refused(
    {
        "must be a real number, or an": lambda: Problem(HARD, np.ma.masked_array([0.5, 0.6], [True, False]), 0.5, 0.1),
        r"do not broadcast: alpha \(3,\), rho \(2,\)": lambda: Problem(KeepHard(np.ones(3)), np.ones(2), 0.5, 0.1),
        "keep = 1e-300 must be at least 1e-14": lambda: Entropy.with_keep_fraction([0.1, 1e-300]),
        r"phi has shape \(2,\): it must be one number": lambda: PracticeProblem(np.array([0.1, 0.2]), 0.1),
        r"the answer of additions\[0\] = 3 must be an Addition": lambda: predict(
            PracticeProblem(0.5, 0.1, [lambda error: 3])
        ),
        "keep = 'easy' must be a rule or a function": lambda: Addition(1, keep="easy"),
        "flip = <function .* must be a real number": lambda: Group(flip=lambda z: 0.1),
        "kappa has shape": lambda: Window([1.0, 2.0]),
        r"phi has shape \(2,\)": lambda: SpanProblem((1, 0), [Group()], np.ones(2)),
        r"groups = Group\(.* must be a list of Groups": lambda: SpanProblem((1, 0), Group(), 0.1),
        "phi = 'a' must be a real number": lambda: corollary1(*MOMENTS, 0.9, "a"),
        "n is empty": lambda: sweep(n=[]),
        "rules = None must be names of rules, such as keep-hard": lambda: sweep(rules=None),
        r"rho = 2 must lie in \[-1, 1\]": lambda: HARD.moments(2),
        r"there is no 'KeepHard\(alpha=1.0\)'; .*there are keep-hard": lambda: sweep(rules=HARD),
        r"curve = {'kept': \[100\]} must be a Curve, as by Curve.of": lambda: fit({"kept": [100]}),
        "fixed = 5 must be a dict of numbers by their names in PARAMETERS": lambda: fit(CURVE, 5),
        "budget = 0.9 must be a Budget, such as Budget": lambda: best_selection(0.9),
        r"problem = Problem\(rule=.* must be a PracticeProblem": lambda: scaling(PROBLEM),
        r"fitted = Curve\(.* must be a Fit, as by fit": lambda: forecast(CURVE, 0.1),
        "classes = 5: must be two of 0, 1, or two unions": lambda: Features.of(np.eye(20), [0, 1] * 10, classes=5),
        "trials = 'a' must be a whole number": lambda: verify(trials="a"),
        r"features = array\(\[\[1.* must be Features, as by Features.of": lambda: check(np.eye(3)),
        r"rows in all = 5.76e\+14 must be at most 1e\+12: give a smaller n, or fewer trials": lambda: sweep(n=1e12),
        "lam = -1e-09 must be at least 0": lambda: theorem1(*MOMENTS, 0.9, 0.5, -1e-9),
        r"rho = 1.5 must lie in \[-1, 1\]": lambda: theorem1(*MOMENTS, 1.5, 0.5, 0.1),
        r"p = 0.1 must lie in \(0, 1\], .* \|beta\| ≤ p": lambda: theorem1(0.1, 0.1, 0.9, 0.1, 0.5, 0.5, 0.1),
        "p = 0.1 must .* beta_tilde² ≤ p·gamma": lambda: corollary1(0.1, 0.1, 0.1, [0.05, 0.9], 0.5, 0.5),
        "phi = 0 must be positive": lambda: corollary1(*MOMENTS, 0.5, 0),
        "candidate = -1 must be at least 0": lambda: Budget(0.5, 1.0, candidate=-1),
        "rho is empty": lambda: optimum(np.array([]), psi=0.5),
        "breaks = 0.3 must be a sequence of numbers": lambda: SymmetricRule(np.cos, 0.3),
        r"breaks = \[nan\] must be a sequence of numbers": lambda: Addition(1, breaks=[np.nan]),
        "1/p times as many rows where candidates are counted, not kept rows": lambda: Direct(HARD).keep_probability(
            0.0
        ),
        r"rule = 3 must be a rule, such as KeepHard\(alpha=0.8\) or SymmetricRule\(q\)": lambda: Direct(3),
        r"q must be .* np.vectorize\(q\)": lambda: SymmetricRule(lambda t: t if t > 1 else 0).moments(0.5),
        "keep must": lambda: predict(
            SpanProblem((1,), [Group(along=(1,), keep=lambda t, y: y if t > 1 else 0)], 0.5, 0.1)
        ),
        "weight = 'a' must be a real number": lambda: Group(weight="a"),
        r"q has shape \(1,\) for \d+ rows: a number, or one": lambda: SymmetricRule(lambda t: [0.5]).moments(0.5),
        r"keep has shape \((\d+), 1\) for \1 rows: a number, or one for each row": lambda: predict(
            SpanProblem((1, 0), [Group(along=(0, 1), keep=lambda t, y: t[:, None] > 0)], 0.5, 0.1)
        ),
        r"problem = array\(.* must be a Problem": lambda: predict(np.zeros((2, 2))),
        "trials = True must be a whole number": lambda: simulate(PROBLEM, 20, True),
        "d = 10{30} must be at most 1e[+]08": lambda: simulate(PROBLEM, HUGE),
        "classes = 10{30} must be at most 100": lambda: make_selection("keep-all", HUGE),
        r"d = \(too many digits to show\) must be a whole number": lambda: predict(PROBLEM, d=10**5000),
        "accumulate = 'no' must be True or False": lambda: PracticeProblem(0.5, 0.1, accumulate="no"),
        r"truth = \[\[1\], \[1, 2\]\] must be a real number": lambda: SpanProblem([[1], [1, 2]], [Group()], 0.5),
        "slope = 'steep' must be a real number": lambda: Verifier("steep"),
        "weight = 1e[+]300 must be at least 0 and finite": lambda: Group(weight=1e300),
        r"unknown x array\(\[0\., 0\.\]\): one of generated": lambda: sweep(x=np.zeros(2)),
        "rho = None must be a real number": lambda: optimum(None, psi=0.5),
        r"lam_per_row has shape \(2,\): it must be one number": lambda: Budget(0.5, 1.0, lam_per_row=[0.1, 0.2]),
        r"kept = \[\[1\], \[1, 2\]\] must be a real number": lambda: Curve("static", [[1], [1, 2]], 0.3),
        "exact = 'yes' must be True or False": lambda: Curve("static", 100, 0.3, exact="yes"),
        "must lie in": lambda: Curve("prune", 100, 0.3, generated=0),
        "lams is empty": lambda: worth(BoundaryFlips(0.3), lams=[]),
        "loss = 'logistic' must be a Loss": lambda: SpanProblem((1, 0), [Group()], 0.5, loss="logistic"),
        "d is for a Problem: a SpanProblem has": lambda: predict(SPAN, d=LONG),
        r"unknown engine \[0, 1, .* one of dense, law": lambda: simulate(PROBLEM, 20, engine=LONG),
        r"table = \[0, 1, .* must have columns by name": lambda: Curve.of(LONG),
        r"strategy = \[\[0, 1, .* must be a name for each point": lambda: Curve([LONG, [1]], 1, 0.3),
        r"groups\[0\] = \[0, 1, .* must be a Group": lambda: SpanProblem((1, 0), [LONG], 0.5),
        r"additions\[0\] = \[0, 1, .* must be an Addition": lambda: PracticeProblem(0.5, 0.1, [LONG]),
        r"keep = KeepHard\(.* has the shape \(900,\)": lambda: Group(along=(1, 0), keep=KeepHard(np.ones(900))),
        r"rule = \[0, 1, .* must be a name": lambda: make_rule(LONG),
    }
)


def test_corollary_1_at_the_peak_says_so_without_a_warning():
    error, _, squared_norm = corollary1(*MOMENTS, 0.5, np.array([float(MOMENTS.p), 0.3]))
    assert error[0] == 0.5
    assert squared_norm[0] == np.inf
    assert error[1] < 0.2
