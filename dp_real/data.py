"""Real images. They train the small generators, validate and test; no learner trains on them (paper section 1)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dp_real.config import DataConfig
from dp_real.seeds import Stream, rng


@dataclass(frozen=True)
class Images:
    """x: float32 [n, *shape] in [-1, 1]; y: int64 [n]."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class RealData:
    """Disjoint sets of real images and the names of their classes."""

    generator: Images
    validation: Images
    test: Images
    classes: tuple[str, ...]


def load_data(config: DataConfig) -> RealData:
    """scikit-learn's digits (1,797 images, 8 x 8): 900 for the generator, 250 to validate, 647 to test."""
    from sklearn.datasets import load_digits

    images, labels = map(np.asarray, load_digits(return_X_y=True))
    order = rng(config.split, Stream.SPLIT).permutation(len(labels))
    x = torch.from_numpy((images[order] / 8 - 1).astype(np.float32)).view(-1, 1, 8, 8)
    y = torch.from_numpy(labels[order].astype(np.int64))
    parts = [Images(x[a:b], y[a:b]) for a, b in ((0, 900), (900, 1150), (1150, 1797))]
    return RealData(*parts, classes=tuple("0123456789"))
