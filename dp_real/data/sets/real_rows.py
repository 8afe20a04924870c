"""Which real examples train: a few of each class, equally many, or a long tail.

In a tail the counts fall exponentially by class, after Cui et al. (2019), Class-Balanced Loss.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Int, Int64
from torch import Tensor

from dp_base.errors import InputError
from dp_real.data.examples import Examples, ExampleSet, RealData, taken
from dp_real.data.sets.images import ImageFiles, ImageSet
from dp_real.runtime.seeds import Stream, rng

SHOTS = ("many", "medium", "few")  # thirds of the classes, from the most frequent on


def shuffled(y: Int64[np.ndarray, " n"], seed: int) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The rows in random order, and each one's place there among those of its class."""
    order = rng(seed, Stream.SPLIT).permutation(len(y))
    return order, pd.Series(y[order]).groupby(y[order]).cumcount().to_numpy()


def balanced_rows(y: Int64[np.ndarray, " n"], count: int, seed: int) -> Int64[np.ndarray, " count"]:
    """Random rows, equally many of each class that has enough. A larger count extends a smaller one's rows."""
    order, among_its_class = shuffled(y, seed)
    return order[np.sort(among_its_class.argsort(kind="stable")[:count])]


def with_few(data: RealData, per_class: int, halved: bool, split: int) -> RealData:
    """Take `few` from the validation set, `per_class` of each class or as many as there are, in random order.

    If `halved`, only their first half is taken, and the second is the validation set; if not, all others are. A test
    set that was the validation set stays equal to it. Raises InputError if nothing is left to validate on.
    """
    y = data.validation.y.numpy()
    order, among_its_class = shuffled(y, split)
    place = among_its_class[order.argsort()]  # of each row
    chosen = np.minimum(per_class, np.bincount(y)[y])  # of each row's class
    trains = place < (-(-chosen // 2) if halved else chosen)
    left = ~trains & (place < chosen) if halved else ~trains
    if not left.any():
        raise InputError(
            f"data.real_per_class = {per_class}: leaves no validation example to watch; "
            f"{'take 2 or more' if per_class < 2 else 'lower it, or give more'}"
        )
    validation = _picked(data.validation, np.flatnonzero(left).tolist())
    test = validation if data.test is data.validation else data.test
    few = _picked(data.validation, np.flatnonzero(trains).tolist())
    return replace(data, few=few, validation=validation, test=test)


def _picked(examples: ExampleSet, rows: list[int]) -> ExampleSet:
    x, y = examples.x, examples.y[rows]
    if isinstance(x, ImageFiles):
        return ImageSet(x.select_rows(rows), y)
    return Examples(taken(x, rows), y)


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


def tail_rows(
    y: Int64[np.ndarray, " n"], counts: Int64[np.ndarray, " classes"], split: int
) -> Int64[np.ndarray, " count"]:
    """Random rows, `counts` of each class, sorted by class. Larger counts extend the rows of smaller ones."""
    order, among_its_class = shuffled(y, split)
    rows = order[among_its_class < counts[y[order]]]
    return rows[y[rows].argsort(kind="stable")]


def shots(counts: Int64[Tensor, " classes"]) -> dict[str, Int64[Tensor, " third"]]:
    """The classes in thirds, by their real examples: many, medium and few. Two classes have no third."""
    thirds = counts.argsort(descending=True, stable=True).tensor_split(3)
    return {name: third for name, third in zip(SHOTS, thirds, strict=True) if len(third)}
