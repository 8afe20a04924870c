"""Rounds: where an automatic strength ends; how often which candidate is chosen, each row's choice its own."""

import numpy as np
import pytest
from dp_experiments.presets.presets import load_preset

from dp_real.practice.rounds import CHOICE_STRENGTH, at_limit, choose
from dp_real.runtime.seeds import row_seeds

N, K = 1500, 3
SEEDS = row_seeds(0, 1, range(N * K)).reshape(N, K)
HARDNESS = np.tile([0.1, 0.9, 0.5], (N, 1))


@pytest.mark.parametrize(
    ("settings", "omega", "end"),
    [
        ((), 0.02 / 19, "lowest"),  # a total of .02 in 19 guided steps: the last has none
        ((), 0.021 / 19, None),
        ((), 1.6 / 19, "highest"),
        (("guidance.every=5",), 1.6 / 4, "highest"),
        (("guidance.candidates=3",), 0.02 * CHOICE_STRENGTH, "lowest"),
        (("guidance.omega=0.001",), 0.001, None),
        (("guidance.omega=0.0", "practice.oversample=5"), 0.0, None),
    ],
)
def test_the_ends_of_an_automatic_strength(settings, omega, end):
    config = load_preset("digits", ("sampling.steps=20", "guidance.window=[0.0, 1.0]", "guidance.every=1", *settings))
    remark = at_limit(config, omega)
    assert f"at its {end}" in str(remark) if end else remark is None


@pytest.mark.parametrize("omega", [0.0, 1.0, 3.0, 1000.0])
def test_candidates_are_chosen_in_proportion_to_the_exponential_of_their_entropy(omega):
    chosen = choose(HARDNESS, omega, SEEDS)
    weights = np.exp(omega * (HARDNESS[0] - HARDNESS[0].max()))
    expected = weights / weights.sum()
    error = np.sqrt(expected * (1 - expected) / N)
    assert (np.abs(np.bincount(chosen, minlength=K) / N - expected) <= 4 * error).all()


def test_a_rows_choice_does_not_depend_on_the_other_rows():
    part = slice(7, 40)
    np.testing.assert_array_equal(choose(HARDNESS, 2.0, SEEDS)[part], choose(HARDNESS[part], 2.0, SEEDS[part]))
