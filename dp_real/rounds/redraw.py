"""Samples of no use are drawn again, counted, and refused if they are many.

A sample is of no use if it is not finite, an image of one value throughout, or empty.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dp_real.runtime.finite import require_samples, unusable
from dp_real.runtime.seeds import next_seeds

REDRAWS = 3  # of a row, one after the other
LARGEST_SHARE = 0.1  # of a block's rows that may be of no use: more are no accident


class SoundSamples(NamedTuple):
    """Samples that are all of use."""

    x: Tensor  # [B, *sample_shape]
    seeds: np.ndarray  # uint64 [B], those that the samples came from
    redrawn: np.ndarray  # int64 [B], how often each row was drawn again


def draw_sound(
    draw: Callable[[np.ndarray, np.ndarray], Tensor], seeds: np.ndarray, what: str, remedy: str
) -> SoundSamples:
    """Samples from draw(rows, seeds of these rows). Rows of no use are drawn again, from the seeds next to theirs.

    Each row is a function of its seed, so a resumed run draws the same again. Raises DivergedError if more than
    LARGEST_SHARE of the rows are of no use (one row may always be), or if a row still is after REDRAWS. The message
    begins with `what` and ends with `remedy`.
    """
    seeds = seeds.copy()
    redrawn = np.zeros(len(seeds), np.int64)
    x = draw(np.arange(len(seeds)), seeds)
    for _ in range(REDRAWS):
        bad = np.flatnonzero(unusable(x).numpy())
        if not len(bad) or len(bad) > max(1, LARGEST_SHARE * len(seeds)):
            break
        seeds[bad] = next_seeds(seeds[bad])
        x[bad] = draw(bad, seeds[bad])
        redrawn[bad] += 1
    require_samples(x, what, remedy)
    return SoundSamples(x, seeds, redrawn)
