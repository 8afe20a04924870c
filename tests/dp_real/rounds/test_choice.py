"""Choosing among candidates: how often which, and that a row's choice is its own."""

import numpy as np
import pytest

from dp_real.rounds.choice import choose
from dp_real.runtime.seeds import row_seeds

N, K = 4000, 3
SEEDS = row_seeds(0, 1, range(N * K)).reshape(N, K)
HARDNESS = np.tile([0.1, 0.9, 0.5], (N, 1))


@pytest.mark.parametrize("omega", [0.0, 1.0, 3.0, 1000.0])
def test_candidates_are_chosen_in_proportion_to_the_exponential_of_their_entropy(omega: float):
    chosen = choose(HARDNESS, np.full(N, omega, np.float32), SEEDS)
    weights = np.exp(omega * (HARDNESS[0] - HARDNESS[0].max()))
    expected = weights / weights.sum()
    error = np.sqrt(expected * (1 - expected) / N)
    assert (np.abs(np.bincount(chosen, minlength=K) / N - expected) <= 4 * error).all()


def test_a_rows_choice_does_not_depend_on_the_other_rows():
    omega = np.linspace(0, 5, N)
    part = slice(7, 40)
    np.testing.assert_array_equal(
        choose(HARDNESS, omega, SEEDS)[part], choose(HARDNESS[part], omega[part], SEEDS[part])
    )
