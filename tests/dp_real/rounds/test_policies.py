"""Policies: where an automatic strength ends."""

import pytest
from dp_experiments.presets.presets import load_preset

from dp_real.rounds.policies import CHOICE_STRENGTH, end_of_range


@pytest.mark.parametrize(
    ("settings", "omega", "end"),
    [
        ((), 0.02 / 19, "lowest"),  # a total of .02 in 19 guided steps: the last has none
        ((), 0.021 / 19, None),
        ((), 1.6 / 19, "highest"),
        (("guidance.every=5",), 1.6 / 19, None),
        (("guidance.every=5",), 1.6 / 4, "highest"),
        (("guidance.candidates=3",), 0.02 * CHOICE_STRENGTH, "lowest"),
        (("guidance.omega=0.001",), 0.001, None),
        (("guidance.omega=0.0", "practice.oversample=5"), 0.0, None),
    ],
)
def test_the_ends_of_an_automatic_strength(settings: tuple[str, ...], omega: float, end: str | None):
    config = load_preset("digits", ("sampling.steps=20", "guidance.window=[0.0, 1.0]", "guidance.every=1", *settings))
    assert end_of_range(config, omega) == end
