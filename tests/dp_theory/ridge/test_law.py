"""The law simulator against the experiment itself (two-sample tests), and truncated against whole."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from dp_theory import KeepEasy, KeepHard, Problem, Random
from dp_theory.ridge.simulators import law
from dp_theory.ridge.simulators.dense import dense_trial
from tests.refusals import refused

LAMS = np.array([0.0, 0.01, 1.0])
TRIALS = 1000
LEVEL = 1e-4  # of each two-sample test; the seeds are fixed, so a pass stays a pass


def dense_trials(rule, rho, n, d):
    """Test error, overlap and squared norm (trials, lams, 3) of the dense experiment."""
    problems = [Problem(rule, rho, d / n, lam) for lam in LAMS]
    return np.array([[dense_trial(problem, d, n, k) for problem in problems] for k in range(TRIALS)])


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
    drawn = np.array([law.trial(rule, rho, n, d, LAMS, rng) for _ in range(TRIALS)])
    assert ks_2samp(dense_trials(rule, rho, n, d), drawn).pvalue.min() > LEVEL


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


test_what_cannot_be_solved_is_refused = refused(
    {"increase lam": lambda: law.draw(np.diag([3.0, 0.0]), 10, 5, 10, [0.0], np.random.default_rng(0))}
)
