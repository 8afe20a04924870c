"""The theory's own data."""

import numpy as np
import torch

from dp_real.config.config import GaussianDataConfig
from dp_real.protocols import Images, RealData
from dp_real.runtime.seeds import Stream, rng


def load_gaussian(config: GaussianDataConfig) -> RealData:
    """x ~ N(0, I_d), y = 1[x_0 > 0], drawn by `split`."""
    draw = rng(config.split, Stream.SPLIT)
    parts = []
    for n in (config.validation, config.test):
        x = torch.from_numpy(draw.standard_normal((n, config.dimension), np.float32))
        parts.append(Images(x, (x[:, 0] > 0).long()))
    return RealData(None, *parts, classes=("negative", "positive"))
