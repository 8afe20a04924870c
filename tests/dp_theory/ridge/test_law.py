"""The law simulator against the experiment itself (two-sample tests), and truncated against whole."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

from dp_base.errors import InputError
from dp_theory.ridge.simulators import law
from dp_theory.rules import KeepEasy, KeepHard, Random

LAMS = np.array([0.0, 0.01, 1.0])
TRIALS = 1000
LEVEL = 1e-4  # of each two-sample test; the seeds are fixed, so a pass stays a pass


def ridge(x, y, n, lam):
    """Minimises (1/2n) Σ (w·x_i − y_i)² + (lam/2)|w|²; lam = 0: of least norm."""
    if lam == 0:
        return np.linalg.lstsq(x, y, rcond=None)[0]
    return np.linalg.solve(x.T @ x + n * lam * np.eye(x.shape[1]), x.T @ y)


def dense_trial(rule, rho, n, d, rng):
    """Test error, overlap, squared norm per lam: w_s = e1, w0 = rho e1 + sqrt(1 - rho²) e2, dense."""
    w0 = np.zeros(d)
    w0[:2] = rho, np.sqrt(1 - rho**2)
    x = rng.standard_normal((n, d))
    x = x[rng.random(n) < rule.keep_probability(x[:, 0])]
    y = np.sign(x @ w0)
    if not len(y):
        return np.tile([0.5, 0.0, 0.0], (len(LAMS), 1))
    w = np.array([ridge(x, y, n, lam) for lam in LAMS])
    norm = np.linalg.norm(w, axis=1)
    return np.column_stack([np.arccos(np.clip(w @ w0 / norm, -1, 1)) / np.pi, w @ w0, norm**2])


def p_values(first, second):
    """Two-sample Kolmogorov-Smirnov p-value of every quantity; first, second: (trials, ...)."""
    shape = first.shape[1:]
    return np.array([ks_2samp(first[:, *i], second[:, *i])[1] for i in np.ndindex(*shape)]).reshape(shape)


CELLS = [  # rule, rho, n, d: k = 2 special directions, then 1; kept rows above, at and below d
    (KeepHard(1.0), -0.6, 30, 20),
    (KeepEasy(0.8), 0.6, 30, 40),
    (KeepHard(1.0), 0.6, 9, 2),
    (Random(0.5), 0.3, 40, 15),
    (KeepEasy(1.0), 1.0, 60, 12),
]


@pytest.mark.parametrize(("rule", "rho", "n", "d"), CELLS, ids=str)
def test_has_the_law_of_the_dense_experiment(rule, rho, n, d):
    rng = np.random.default_rng([n, d])
    dense = np.array([dense_trial(rule, rho, n, d, rng) for _ in range(TRIALS)])
    drawn = np.array([law.trial(rule, rho, n, d, LAMS, rng) for _ in range(TRIALS)])
    assert p_values(dense, drawn).min() > LEVEL


def test_the_two_sample_test_sees_a_wrong_law():
    """One column or two rows more, a correlation between rows and labels: each is noticed."""
    rng = np.random.default_rng(0)
    rule, rho, n, d = KeepHard(1.0), 0.6, 60, 20
    dense = np.array([dense_trial(rule, rho, n, d, rng) for _ in range(TRIALS)])
    for wrong in ({"d": d + 2}, {"n": n + 6}, {"rho": 0.7}, {"rule": KeepHard(1.2)}):
        parameters: dict[str, Any] = {"rule": rule, "rho": rho, "n": n, "d": d} | wrong
        drawn = np.array([law.trial(**parameters, lams=LAMS, rng=rng) for _ in range(TRIALS)])
        assert p_values(dense, drawn).min() < LEVEL, wrong


def test_three_special_directions_and_flipped_labels():
    """Pruner e1, labeller in the plane of e1 and e2, a third direction e3 through which rows are kept too."""
    n, d = 60, 20
    rng = np.random.default_rng([3, n])

    def rows():
        g = rng.standard_normal((n, 3))
        g = g[(np.abs(g[:, 0]) < 1) & (g[:, 0] + g[:, 2] > -1)]
        flip = np.where(rng.random(len(g)) < 0.1, -1, 1)
        return np.column_stack([flip * np.sign(0.8 * g[:, 0] + 0.6 * g[:, 1]), g])

    def dense():
        s = rows()
        x = np.column_stack([s[:, 1:], rng.standard_normal((len(s), d - 3))])
        w = np.array([ridge(x, s[:, 0], n, lam) for lam in LAMS])
        return np.column_stack([w[:, :3], np.linalg.norm(w[:, 3:], axis=1)])

    def drawn():
        s = rows()
        w = law.draw(law.triangle([s[:7], s[7:]], 3), len(s), d, n, LAMS, rng)
        return np.column_stack([w.special, w.rest])

    assert (
        p_values(np.array([dense() for _ in range(TRIALS)]), np.array([drawn() for _ in range(TRIALS)])).min() > LEVEL
    )


@pytest.mark.parametrize("d", [900, 2100, 9000])
@pytest.mark.parametrize("lam", [0.0, 0.05])
def test_truncation_is_within_its_certificate(d, lam):
    """Same random numbers, leading equations against all of them; near d = kept all are needed."""
    rng = np.random.default_rng(d)
    s = np.column_stack([rng.choice([-1.0, 1.0], 2000), rng.standard_normal((2000, 2)) * [1, 1e-4]])
    factor = law.triangle(np.split(s, 4), 2)
    short, whole = (law.draw(factor, 2000, d, 5000, [lam], np.random.default_rng(1), full=f) for f in (False, True))
    assert whole.unknowns == min(2000, d)
    assert whole.bound == 0
    size = np.hypot(np.linalg.norm(whole.special), whole.rest)
    error = np.hypot(np.linalg.norm(short.special - whole.special), short.rest - whole.rest) / size
    assert error <= short.bound + 1e-10  # rounding; lam = 0 next to d = kept is ill-conditioned
    assert short.bound <= law.TOLERANCE
    if d in (900, 9000):
        assert short.unknowns < whole.unknowns


def test_no_kept_row_is_a_coin_toss():
    drawn = law.trial(KeepHard(1e-6), 0.5, 10, 5, LAMS, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, np.tile([0.5, 0, 0], (3, 1)))


def test_input_errors_say_what_is_wrong():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="d = 1 must be at least 2, the number of special directions"):
        law.draw(np.eye(3), 10, 1, 10, [0.1], rng)
    with pytest.raises(InputError, match="m = 0"):
        law.draw(np.eye(3), 0, 20, 10, [0.1], rng)
    with pytest.raises(InputError, match="lam = -1 must be"):
        law.draw(np.eye(3), 10, 20, 10, [-1.0], rng)
    with pytest.raises(InputError, match="increase lam"):  # a special column of zeros, no ridge
        law.draw(np.diag([3.0, 0.0]), 10, 5, 10, [0.0], rng)
