"""What a run learns about its own strength: guidance.omega = "auto", and the temperature of the label check."""

from typing import NamedTuple

import numpy as np

# What omega = "auto" starts from and may choose: omega times the number of guided steps, which is what counts.
PUSH_START, PUSH_RANGE = 0.2, (0.02, 1.6)


class Steering(NamedTuple):
    """push: omega times the guided steps of the next rows, where it steers itself. temperature: 0: not fitted yet."""

    push: float = PUSH_START
    temperature: float = 0.0


def steer(push: float, wrong: float, target: float) -> float:
    """The push for the next rows, given what share of the last ones the learner gets wrong; a factor 2 at most."""
    factor = float(np.clip(target / wrong, 0.5, 2)) if wrong else 2.0
    return float(np.clip(push * factor, *PUSH_RANGE))
