"""What a run learns about its guidance: the strength of guidance.omega = "auto"."""

from typing import NamedTuple

import numpy as np

# Start and range of omega = "auto", as omega times the number of guided steps: the effect depends on this product.
PUSH_START, PUSH_RANGE = 0.2, (0.02, 1.6)
DAMPING = 0.5  # the wrong share grows faster than the push: moving by the whole ratio swings about the target


class Steering(NamedTuple):
    """push: omega times the guided steps, for the next rows of an automatic omega."""

    push: float = PUSH_START


def steer(push: float, wrong: float, target: float) -> float:
    """The push for the next rows, given the share of the last that are wrong. It changes by a factor of 2 at most."""
    factor = float(np.clip((target / wrong) ** DAMPING, 0.5, 2)) if wrong else 2.0
    return float(np.clip(push * factor, *PUSH_RANGE))
