"""Long tails: counts that fall exponentially by class, after Cui et al. (2019), Class-Balanced Loss."""

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor

from dp_real.runtime.seeds import Stream, rng

SHOTS = ("many", "medium", "few")  # thirds of the classes, from the most frequent on


def tail_counts(total: int, n_classes: int, imbalance: float, split: int) -> Int[np.ndarray, " classes"]:
    """Real examples by class, `total` in all. The most frequent class has `imbalance` times the rarest's.

    Each class has at least one; `split` decides which are frequent.
    """
    shares = imbalance ** (-np.arange(n_classes) / max(n_classes - 1, 1))
    spare = (total - n_classes) * shares / shares.sum()  # beyond one for each class
    counts = 1 + np.floor(spare).astype(np.int64)
    counts[: total - counts.sum()] += 1
    placed = np.empty_like(counts)
    placed[rng(split, Stream.SPLIT).permutation(n_classes)] = counts
    return placed


def tail_rows(y: Int64[np.ndarray, " n"], labels: Int64[Tensor, " count"], split: int) -> Int64[Tensor, " count"]:
    """Random rows with these labels. A larger count extends a smaller one's rows."""
    order = rng(split, Stream.SPLIT).permutation(len(y))
    rows = torch.empty_like(labels)
    for label, count in enumerate(labels.bincount().tolist()):
        rows[labels == label] = torch.from_numpy(order[y[order] == label][:count])
    return rows


def shots(counts: Int64[Tensor, " classes"]) -> dict[str, Int64[Tensor, " third"]]:
    """The classes in thirds, by their real examples: many, medium and few. Two classes have no third."""
    thirds = counts.argsort(descending=True, stable=True).tensor_split(3)
    return {name: third for name, third in zip(SHOTS, thirds, strict=True) if len(third)}
