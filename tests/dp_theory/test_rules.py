"""Moments against direct high-precision integrals, inverses of the kept fraction, and draws against densities."""

import mpmath as mp
import numpy as np
import pytest
from scipy import stats

from dp_theory import RULES, InputError, make_rule
from dp_theory.rules import Entropy, KeepAll, KeepEasy, KeepHard, Random, SymmetricRule
from dp_theory.rules.entropy import entropy_deficit

INTERVALS = [0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1, 2, 4, 8, 16, 30]


def integrated_moments(q, rho, cuts=()):
    """The definitions: p = E[q], gamma = E[q G²], beta = 2E[q pdf(tau G)], beta_tilde = 2E[q cdf(tau G) G]."""
    tau = rho / mp.sqrt(1 - mp.mpf(rho) ** 2)
    edges = sorted({*map(mp.mpf, INTERVALS), *map(mp.mpf, cuts)})

    def mean(f):
        return 2 * mp.quad(lambda t: q(t) * f(t) * mp.npdf(t), edges)

    return [
        mean(lambda t: 1),
        mean(lambda t: t**2),
        mean(lambda t: 2 * mp.npdf(tau * t)),
        mean(lambda t: t * (2 * mp.ncdf(tau * t) - 1)),
    ]


def tilted(omega, kappa):
    def q(t):
        s = 1 / (1 + mp.exp(-kappa * t))
        entropy = -s * mp.log(s) - (1 - s) * mp.log(1 - s) if s < 1 else mp.mpf(0)
        return mp.exp(omega * (entropy - (mp.log(2) if omega > 0 else 0)))

    return q


@pytest.mark.parametrize("rho", [-0.99999, 0.3, 0.95])
@pytest.mark.parametrize(("omega", "kappa"), [(5.0, 1.0), (-20.0, 2.0), (1e6, 1.0), (30.0, 50.0)])
def test_entropy_moments_against_integrals(omega, kappa, rho):
    with mp.workdps(30):
        want = [float(x) for x in integrated_moments(tilted(omega, kappa), rho)]
    np.testing.assert_allclose(Entropy(omega, kappa).moments(rho), want, rtol=1e-10)


@pytest.mark.parametrize("rho", [-0.8, 0.999999])
@pytest.mark.parametrize("alpha", [1e-4, 0.4999, 0.5, 3.0])
def test_lemmas_against_integrals(alpha, rho):
    with mp.workdps(25):
        hard = [float(x) for x in integrated_moments(lambda t: 1 if t <= alpha else 0, rho, [alpha])]
        easy = [float(x) for x in integrated_moments(lambda t: 0 if t <= alpha else 1, rho, [alpha])]
    np.testing.assert_allclose(KeepHard(alpha).moments(rho), hard, rtol=1e-12)
    np.testing.assert_allclose(KeepEasy(alpha).moments(rho), easy, rtol=1e-12)


def test_hard_and_easy_are_complements_and_random_is_linear():
    rho = np.linspace(-1, 1, 41)[:, None]
    alpha = np.geomspace(0.01, 5, 30)
    three = (rule.moments(rho) for rule in (KeepHard(alpha), KeepEasy(alpha), KeepAll()))
    for hard, easy, every in zip(*three, strict=True):
        one, other = np.broadcast_arrays(hard + easy, every)
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(Random(0.3).moments(0.5), 0.3 * np.array(KeepAll().moments(0.5)))


def test_at_full_alignment_beta_is_0_and_beta_tilde_the_mean_magnitude():
    alpha = np.array([1e-6, 1e-3, 0.7, 2.0])
    for rho in (-1.0, 1.0):
        *_, beta, beta_tilde = KeepHard(alpha).moments(rho)
        assert np.all(beta == 0)
        np.testing.assert_allclose(beta_tilde, rho * np.sqrt(2 / np.pi) * -np.expm1(-(alpha**2) / 2), rtol=1e-13)


@pytest.mark.parametrize("name", ["keep-hard", "keep-easy", "random", "entropy"])
def test_with_keep_fraction_inverts_the_kept_fraction(name):
    p = np.array([1e-4, 0.2, 0.5, 0.999])
    np.testing.assert_allclose(make_rule(name, keep=p).moments(0.0).p, p, rtol=1e-9)


def test_entropy_meets_keep_all_at_omega_0_from_both_sides():
    for omega in (-1e-9, 0.0, 1e-9):
        np.testing.assert_allclose(Entropy(omega).moments(0.4), KeepAll().moments(0.4), rtol=1e-8)


def test_entropy_deficit_is_accurate_at_both_ends():
    np.testing.assert_allclose(entropy_deficit(np.array([0, 1e-9, 1e-4, 1e3, np.inf])),
                               [0, 1e-18 / 8, 1e-8 / 8, np.log(2), np.log(2)], rtol=1e-8)  # fmt: skip


RULES_TO_DRAW = [
    KeepHard(0.5), KeepHard(np.inf), KeepEasy(1.2), KeepEasy(8.0), Entropy(8.0), Entropy(-6.0, 2.0), Random(0.2),
    SymmetricRule(lambda t: np.exp(-t)),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES_TO_DRAW, ids=lambda rule: type(rule).__name__)
def test_direct_draws_have_the_selected_distribution(rule):
    rng = np.random.default_rng(3)
    t = rule.draw(rng, 20_000)
    assert t.shape == (20_000,)
    p, gamma, _, beta_tilde = rule.moments(1.0)
    assert abs(np.sign(t).mean()) < 4 / np.sqrt(t.size)
    for sample, mean in ((np.abs(t), beta_tilde / p), (t**2, gamma / p)):
        assert abs(sample.mean() - mean) < 4 * stats.sem(sample)
    pool = rng.standard_normal(int(20_000 / p)) if p > 0.01 else np.empty(0)
    if pool.size:  # and equal to what pruning keeps, as a two-sample test
        kept = pool[rng.random(pool.size) < rule.keep_probability(pool)]
        assert stats.ks_2samp(t, kept).pvalue > 1e-3


def test_draw_is_exact_about_its_size():
    rng = np.random.default_rng(0)
    assert [rule.draw(rng, n).size for rule in RULES_TO_DRAW for n in (0, 1, 7)] == [0, 1, 7] * len(RULES_TO_DRAW)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "keep-best", "alpha": 1}, "unknown rule 'keep-best': one of keep-hard"),
        ({"name": "keep-hard", "alpha": -1.0}, "alpha = -1 must be positive"),
        ({"name": "keep-hard", "alpha": 0.0}, "alpha = 0 must be positive"),
        ({"name": "keep-hard", "alpha": float("nan")}, "alpha = nan"),
        ({"name": "keep-hard"}, "exactly one of alpha and keep; given: nothing"),
        ({"name": "keep-hard", "alpha": 1.0, "keep": 0.5}, "given: alpha, keep"),
        ({"name": "keep-easy", "alpha": 50.0}, "underflows"),
        ({"name": "keep-easy", "keep": 1.0}, "below 1 for keep-easy"),
        ({"name": "random", "alpha": 1.0}, "random takes keep and nothing else; given: alpha"),
        ({"name": "random", "keep": 1.5}, "keep = 1.5 must lie in"),
        ({"name": "keep-all", "keep": 0.5}, "keep = 0.5 must be 1"),
        ({"name": "entropy", "omega": float("inf")}, "omega = inf must be finite"),
        ({"name": "entropy", "omega": 1.0, "kappa": 0.0}, "kappa = 0 must be positive"),
    ],
)
def test_bad_rules_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        make_rule(**arguments)


def test_a_probability_outside_0_1_is_named():
    with pytest.raises(InputError, match=r"q\(t\) = 2 must lie in"):
        SymmetricRule(lambda t: 2.0).moments(0.5)


def test_registry_covers_the_named_rules():
    assert list(RULES) == ["keep-hard", "keep-easy", "keep-all", "random", "entropy"]
