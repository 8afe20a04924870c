"""scikit-learn's digits."""

import numpy as np
import torch

from dp_real.protocols import Images, RealData
from dp_real.runtime.seeds import Stream, rng


def load_digits(split: int) -> RealData:
    """1,797 images of 8 x 8, shuffled by `split`: 900 for the generator, 250 to validate, 647 to test."""
    from sklearn import datasets

    images, labels = map(np.asarray, datasets.load_digits(return_X_y=True))
    order = rng(split, Stream.SPLIT).permutation(len(labels))
    x = torch.from_numpy((images[order] / 8 - 1).astype(np.float32)).view(-1, 1, 8, 8)
    y = torch.from_numpy(labels[order].astype(np.int64))
    parts = [Images(x[a:b], y[a:b]) for a, b in ((0, 900), (900, 1150), (1150, 1797))]
    return RealData(*parts, classes=tuple("0123456789"))
