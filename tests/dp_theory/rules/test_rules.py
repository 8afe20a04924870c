"""Moments against direct high-precision integrals, inverses of the kept fraction, and draws against densities."""

import re
from functools import partial

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from dp_theory import (
    RULES,
    Direct,
    Entropy,
    KeepEasy,
    KeepHard,
    Problem,
    Random,
    Rule,
    SymmetricRule,
    make_rule,
    predict,
    simulate,
    sweep,
)
from tests.dp_theory.rules.reference import integrated_moments, tilted
from tests.refusals import out_of_range, refused
from tests.source import ROOT

GUIDE = (ROOT / "docs" / "theory.md").read_text()


ENTROPY_RULES = """
    5      1   -0.99999
    -20    2   0.95
    1e6    1   0.3
    30     50  0.95
    -2000  1   0.3
    -1e9   50  0.5
"""


@pytest.mark.parametrize(("omega", "kappa", "rho"), np.loadtxt(ENTROPY_RULES.splitlines()).tolist())
def test_entropy_moments_against_integrals(omega, kappa, rho):
    with mp.workdps(30):
        want = [float(x) for x in integrated_moments(tilted(omega, kappa), rho)]
    found, errors = Entropy(omega, kappa).moments_with_errors(rho)
    assert_allclose(found, want, rtol=1e-10)
    assert max(errors) < 1e-12


@pytest.mark.parametrize("rho", [1.0, -1.0])
def test_a_break_at_0_is_no_node_where_labels_are_known(rho):
    smooth, broken = (SymmetricRule(lambda t: np.exp(-t), breaks) for breaks in ((), (0.0,)))
    assert_allclose(broken.moments(rho), smooth.moments(rho), rtol=1e-14)


@pytest.mark.parametrize("name", ["keep-hard", "keep-easy", "random", "entropy"])
def test_with_keep_fraction_inverts_the_kept_fraction(name):
    p = np.array([1e-4, 0.2, 0.5, 0.999])
    assert_allclose(make_rule(name, keep=p).moments(0.0).p, p, rtol=1e-9)


RULES_TO_DRAW = [
    KeepHard(0.5),
    KeepHard(np.inf),
    KeepEasy(1.2),
    KeepEasy(8.0),
    Entropy(8.0),
    Entropy(-6.0, 2.0),
    Random(0.2),
    SymmetricRule(lambda t: np.exp(-t)),
]


@pytest.mark.parametrize("rule", RULES_TO_DRAW)
def test_direct_draws_have_the_selected_distribution(rule):
    rng = np.random.default_rng(3)
    t = rule.draw(rng, 20_000)
    assert t.shape == (20_000,)
    p, gamma, _, beta_tilde = rule.moments(1.0)
    assert abs(np.sign(t).mean()) < 4 / np.sqrt(t.size)
    for sample, mean in ((np.abs(t), beta_tilde / p), (t**2, gamma / p)):
        assert abs(sample.mean() - mean) < 4 * stats.sem(sample)
    if p > 0.01:  # and equal to what pruning keeps, as a two-sample test
        pool = rng.standard_normal(int(20_000 / p))
        kept = pool[rng.random(pool.size) < rule.keep_probability(pool)]
        assert stats.ks_2samp(t, kept).pvalue > 1e-3


test_numbers_out_of_range_are_refused = out_of_range(
    *((partial(make_rule, name), {"keep": 2.0}) for name in ("keep-hard", "random", "entropy")),
    *((partial(make_rule, name), {"alpha": alpha}) for name in ("keep-hard", "keep-easy") for alpha in (-1.0, np.nan)),
    (partial(make_rule, "keep-easy"), {"keep": 1.0}),
    (partial(Entropy.with_keep_fraction, 0.5), {"kappa": 0.0}),
    (partial(Entropy, omega=1.0), {"omega": np.inf, "kappa": 0.0}),
    (Random, {"p": 0.0}),
)


class Lopsided(Rule):
    def keep_probability(self, t):
        return t > 0


class Sure(Rule):
    def keep_probability(self, t):
        return 1.5 + 0 * t


test_bad_rules_are_named = refused(
    {
        "and the same at t and -t": lambda: Lopsided().moments(0.5),
        r"do not broadcast: keep \(2,\), kappa \(3,\)": lambda: Entropy.with_keep_fraction([0.1, 0.2], [1, 2, 3]),
        r"Sure: keep_probability must be in \[0, 1\]": lambda: Sure().moments(0.5),
        r"keep_probability of Sure = 1\.5 must lie in \[0, 1\]": lambda: simulate(Problem(Sure(), 0.5, 0.5, 0.1), d=8),
        "rules: there is no 'keep-best'; did you mean 'keep-easy'": lambda: make_rule("keep-best", alpha=1),
        r"rule = \(too many digits to show\) must be a name, such as keep-hard": lambda: make_rule(10**5000),
        "rule = 5 must be a name": lambda: sweep(0.5, rules=["keep-hard", 5]),
        "given: alpha, keep": lambda: make_rule("keep-hard", alpha=1.0, keep=0.5),
        "underflows": lambda: make_rule("keep-easy", alpha=50.0),
        "rule keep-all has no keep: it takes no parameter": lambda: make_rule("keep-all", keep=0.5),
        "rule keep-hard has no kappa: it takes alpha or keep": lambda: make_rule("keep-hard", alpha=1.0, kappa=2.0),
        "alpha is given twice": lambda: make_rule("keep-hard@alpha=1", alpha=2.0),
        "exactly one of omega and keep; given: kappa": lambda: make_rule("entropy@kappa=2"),
        "alpha = 'wide' must be a number": lambda: make_rule("keep-hard@alpha=wide"),
        r"q\(t\) = 2 must lie in": lambda: SymmetricRule(lambda t: 2.0).moments(0.5),
        "SymmetricRule cannot be made from the fraction": lambda: SymmetricRule.with_keep_fraction(0.5),
    }
)


def test_parameters_follow_the_name_of_a_rule():
    assert make_rule("keep-hard@alpha=.5") == KeepHard(0.5)
    assert make_rule(" entropy @ omega = -3 @ kappa = 2 ") == Entropy(-3.0, 2.0)
    assert make_rule("random@p=0.2") == make_rule("random@keep=.2") == Random(0.2)
    assert Direct(make_rule("keep-hard@alpha=.5")).breakpoints() == (0.5,)
    assert make_rule("entropy@kappa=2", keep=0.3) == Entropy.with_keep_fraction(0.3, 2.0)


# -- rules of other people --------------------------------------------------------------------------------------------


def test_the_documentation_lists_every_rule():
    listed = re.findall(r"^\| `([\w-]+)` \| (.+) \|$", GUIDE.replace("\\|", "¦"), re.M)
    helps = {name: kind.help.replace("|", "¦").removeprefix("rows ") for name, kind in RULES.items()}
    assert {name: text.removeprefix("rows ") for name, text in listed if name in RULES} == helps


def test_the_rule_that_the_documentation_writes_works(patch):
    patch(RULES, "_kinds", dict(RULES._kinds))
    (written,) = re.findall(r"```python\n(from dataclasses import dataclass\n.*?RULES\.register.*?)```", GUIDE, re.S)
    exec(written, {"__name__": "own"})
    rule = make_rule("bell", keep=0.5)
    assert (rule.alpha, predict(Problem(rule, 0.8, 0.5, 0.01)).keep_fraction) == pytest.approx((3.0, 0.5))


# -- parameters that are arrays ---------------------------------------------------------------------------------------


def test_a_break_of_either_sign_is_one_of_an_even_rule():
    """Group.breaks has both, a rule of |t| needs the positive ones."""
    keep = lambda t: (t < 0.5) * 1.0  # noqa: E731
    errors = [
        predict(Problem(SymmetricRule(keep, breaks), 0.9, 0.2, 0.01))
        for breaks in ((0.5,), [-0.5], np.array([-0.5, 0.5]))
    ]
    assert errors[1] == errors[0]
    assert errors[2].test_error == pytest.approx(errors[0].test_error, rel=1e-12)
    assert errors[0].keep_fraction == pytest.approx(0.3829, abs=5e-5)
