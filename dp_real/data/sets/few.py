"""A few validation examples of each class, to train on beside generated ones."""

from dataclasses import replace

import numpy as np
import pandas as pd

from dp_base.errors import InputError
from dp_real.data.examples import Examples, ExampleSet, RealData, taken
from dp_real.data.sets.images import ImageFiles, ImageSet
from dp_real.runtime.seeds import Stream, rng


def with_few(data: RealData, per_class: int, halved: bool, split: int) -> RealData:
    """Take `few` from the validation set, `per_class` of each class or as many as there are, in random order.

    If `halved`, only their first half is taken, and the second is the validation set; if not, all others are. A test
    set that was the validation set stays equal to it. Raises InputError if nothing is left to validate on.
    """
    y = data.validation.y.numpy()
    order = rng(split, Stream.SPLIT).permutation(len(y))
    place = np.empty_like(order)  # rank of each row within its class
    place[order] = pd.Series(y[order]).groupby(y[order]).cumcount()
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
