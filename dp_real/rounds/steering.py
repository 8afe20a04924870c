"""The automatic strength of guidance (guidance.omega = "auto"): it follows the share of new rows that are wrong.

What is steered is the total guidance: omega times the number of guided steps. The effect depends on this product.
"""

import numpy as np

INITIAL_TOTAL = 0.2  # total guidance of the first guided rows
TOTAL_RANGE = (0.02, 1.6)  # the total guidance stays within it
DAMPING = 0.5  # the wrong share grows faster than the total guidance: moving by the whole ratio would swing about it
LARGEST_FACTOR = 2.0  # by which the total guidance changes at once


def steer(total_guidance: float, wrong: float, target: float) -> float:
    """The total guidance for the next rows.

    wrong: the share of the latest rows that the learner got wrong. target: the share that it should get wrong.
    """
    if wrong == 0:
        factor = LARGEST_FACTOR
    else:
        factor = float(np.clip((target / wrong) ** DAMPING, 1 / LARGEST_FACTOR, LARGEST_FACTOR))
    return float(np.clip(total_guidance * factor, *TOTAL_RANGE))
