"""Samples of no use (not finite, or of one value throughout) are drawn again, counted, and refused if many."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dp_real.runtime.finite import require_samples, unusable
from dp_real.runtime.seeds import next_seeds

REDRAWS = 3  # of a row, one after the other
SHARE = 0.1  # of a block's rows: more are no accident


class Sound(NamedTuple):
    """Samples x [B, *sample_shape], the seeds uint64 [B] that they came from, and how often each was redrawn, [B]."""

    x: Tensor
    seeds: np.ndarray
    redrawn: np.ndarray


def draw_sound(draw: Callable[[np.ndarray, np.ndarray], Tensor], seeds: np.ndarray, what: str, remedy: str) -> Sound:
    """Samples from draw(rows, seeds of these rows), where rows of no use are drawn again from their seeds' next ones.

    Each row is a function of its seed, so a resumed run draws the same again. Raises DivergedError, which begins with
    `what` and ends with `remedy`, if more than SHARE of the rows are of no use (one row may always be), or if a row
    still is after REDRAWS.
    """
    seeds, redrawn = seeds.copy(), np.zeros(len(seeds), np.int64)
    x = draw(np.arange(len(seeds)), seeds)
    for _ in range(REDRAWS):
        bad = np.flatnonzero(unusable(x).numpy())
        if not len(bad) or len(bad) > max(1, SHARE * len(seeds)):
            break
        seeds[bad] = next_seeds(seeds[bad])
        x[bad] = draw(bad, seeds[bad])
        redrawn[bad] += 1
    require_samples(x, what, remedy)
    return Sound(x, seeds, redrawn)
