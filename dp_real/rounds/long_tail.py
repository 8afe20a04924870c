"""Long tails: real examples that are many of some classes and few of others, and the classes of what is added to them.

Counts fall exponentially from the most frequent class to the rarest, as the field has it (Cui et al. 2019, Class-Balanced
Loss Based on Effective Number of Samples).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor

from dp_real.config import Config
from dp_real.runtime.seeds import Stream, rng

SHOTS = ("many", "medium", "few")  # thirds of the classes, from the most frequent on


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


def tail_counts(total: int, n_classes: int, imbalance: float, split: int) -> Int[np.ndarray, " classes"]:
    """How many real examples each class has. Which classes are frequent is a function of the data split.

    Parameters
    ----------
    total
        Examples of all classes together.
    n_classes
        The number of classes, at most `total`.
    imbalance
        How many times as many examples the most frequent class has as the rarest. A class has at least one, so that
        the ratio is smaller where the total is small.
    split
        The data split.

    Returns
    -------
    Int[np.ndarray, " classes"]
        The counts, of sum `total`.
    """
    shares = imbalance ** (-np.arange(n_classes) / max(n_classes - 1, 1))
    spare = (total - n_classes) * shares / shares.sum()  # beyond the one of each class
    counts = 1 + np.floor(spare).astype(np.int64)
    counts[: total - counts.sum()] += 1
    placed = np.empty_like(counts)
    placed[rng(split, Stream.SPLIT).permutation(n_classes)] = counts
    return placed


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


def tail_rows(y: Int64[np.ndarray, " n"], labels: Int64[Tensor, " count"], split: int) -> Int64[Tensor, " count"]:
    """Rows of real examples with these labels. They are random, and those of a smaller count are among a larger one's.

    There must be as many examples of each class (dp_real.runs.prepare.check_real_examples).
    """
    order = rng(split, Stream.SPLIT).permutation(len(y))
    rows = torch.empty_like(labels)
    for label, count in enumerate(labels.bincount().tolist()):
        rows[labels == label] = torch.from_numpy(order[y[order] == label][:count])
    return rows


def shots(counts: Int64[Tensor, " classes"]) -> dict[str, Int64[Tensor, " third"]]:
    """The classes in three groups by their number of real examples: many, medium and few. Each has a third of them."""
    order = counts.argsort(descending=True, stable=True)
    return dict(zip(SHOTS, order.tensor_split(3), strict=True))
