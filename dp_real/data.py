"""Real data by source."""

import numpy as np
import torch

from dp_real.config import DataConfig, DigitsConfig, FashionConfig, FolderConfig, GaussianDataConfig
from dp_real.protocols import Images, RealData
from dp_real.seeds import Stream, rng


def load_data(config: DataConfig) -> RealData:
    """The real examples that a configuration names."""
    match config:
        case DigitsConfig():
            return load_digits(config.split)
        case FashionConfig():
            from dp_real.fashion import load_fashion

            return load_fashion(config)
        case GaussianDataConfig():
            return load_gaussian(config)
        case FolderConfig():
            from dp_real.folders import load_folders

            return load_folders(config)


def class_names(config: DataConfig) -> tuple[str, ...]:
    """What the labels 0, 1, ... stand for; images in folders are not read for it."""
    if isinstance(config, FolderConfig):
        from dp_real.folders import task_classes

        return task_classes(config).names
    return load_data(config).classes


def sample_shape(config: DataConfig) -> tuple[int, ...]:
    """Shape of one example; images in folders are not read for it."""
    return (3, config.size, config.size) if isinstance(config, FolderConfig) else load_data(config).sample_shape


def load_gaussian(config: GaussianDataConfig) -> RealData:
    """x ~ N(0, I_d), y = 1[x_0 > 0], drawn by `split`."""
    draw = rng(config.split, Stream.SPLIT)
    parts = []
    for n in (config.validation, config.test):
        x = torch.from_numpy(draw.standard_normal((n, config.dimension), np.float32))
        parts.append(Images(x, (x[:, 0] > 0).long()))
    return RealData(None, *parts, classes=("negative", "positive"))


def load_digits(split: int) -> RealData:
    """1,797 images of 8 x 8, shuffled by `split`: 900 for the generator, 250 to validate, 647 to test."""
    from sklearn import datasets

    images, labels = map(np.asarray, datasets.load_digits(return_X_y=True))
    order = rng(split, Stream.SPLIT).permutation(len(labels))
    x = torch.from_numpy((images[order] / 8 - 1).astype(np.float32)).view(-1, 1, 8, 8)
    y = torch.from_numpy(labels[order].astype(np.int64))
    parts = [Images(x[a:b], y[a:b]) for a, b in ((0, 900), (900, 1150), (1150, 1797))]
    return RealData(*parts, classes=tuple("0123456789"))
