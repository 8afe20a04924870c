"""The classes of a round's examples: all alike, or those first that have the fewest examples."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

from dp_real.config import Config
from dp_real.data.sets.long_tail import tail_counts


def round_labels(config: Config, index: int, pool: Int64[Tensor, " rows"], count: int) -> Int64[Tensor, " count"]:
    """The classes of a round's examples.

    Real examples of the initial round are as practice.imbalance says. All others are of each class alike, or of those
    that have the fewest examples, as practice.classes says.

    Parameters
    ----------
    config
        Of the run.
    index
        Of the round.
    pool
        The labels of all earlier rounds.
    count
        How many examples the round has.

    Returns
    -------
    Int64[Tensor, " count"]
        The labels, real examples first.
    """
    n_classes = config.task.n_classes
    real = 0 if index else config.practice.all_real
    first = torch.empty(0, dtype=torch.int64)
    if real and config.practice.imbalance > 1:
        counts = torch.from_numpy(tail_counts(real, n_classes, config.practice.imbalance, config.data.split))
        first = torch.arange(n_classes).repeat_interleave(counts)
    have = torch.cat([pool, first])
    rest = count - len(first)
    if config.practice.classes == "fill":
        return torch.cat([first, filling(have.bincount(minlength=n_classes), rest)])
    return torch.cat([first, (len(have) + torch.arange(rest)) % n_classes])


def filling(counts: Int64[Tensor, " classes"], n: int) -> Int64[Tensor, " n"]:
    """The classes of n further examples, each of the class that has the fewest by then; of equal ones the first.

    The counts are those before them. So classes become equal from below, as water fills a vessel.
    """
    level_bound = min(int(counts.min()) + n, (int(counts.sum()) + n) // len(counts) + 1)
    levels = torch.arange(level_bound)
    # Each class could take one example at each level from its own count on. The n lowest of these places are taken.
    level, label = (levels[:, None] >= counts).nonzero(as_tuple=True)
    assert len(level) >= n, "the smallest class alone could take all of them"
    return label[:n]
