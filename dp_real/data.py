"""Real data by source."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from dp_real import parallel
from dp_real.config import DataConfig, DigitsConfig, FashionConfig, FolderConfig, GaussianDataConfig, StandInConfig
from dp_real.errors import InputError
from dp_real.protocols import Images, RealData
from dp_real.seeds import Stream, rng


def load_data(config: DataConfig) -> RealData:
    """The real examples that a configuration names."""
    config = placed(config)
    match config:
        case DigitsConfig():
            return load_digits(config.split)
        case FashionConfig():
            from dp_real.fashion import load_fashion

            return load_fashion(config)
        case GaussianDataConfig():
            return load_gaussian(config)
        case FolderConfig():
            from dp_real.image_sets import load_image_sets

            return load_image_sets(config)


def placed(config: DataConfig) -> DigitsConfig | FashionConfig | GaussianDataConfig | FolderConfig:
    """The configuration of what is read: of stand-ins that is their folders, made now if need be."""
    if isinstance(config, StandInConfig):
        from dp_real.stand_in import stand_in_folders

        return stand_in_folders(config)
    return config


def decode_ahead(data: RealData) -> None:
    """Decode the images that are kept, each process its share: a broken one stops a run before it begins."""
    from dp_real.folders import ImageFiles

    def complaint(images: ImageFiles, rows: slice) -> InputError | None:
        try:
            images[rows]
        except InputError as error:
            return error

    for images in {id(part.x): part.x for part in (data.validation, data.test)}.values():
        if isinstance(images, ImageFiles) and images.kept:
            found = parallel.spread(partial(complaint, images), parallel.slices(slice(0, len(images)), 1024))
            for error in filter(None, found):  # all processes raise the first one
                raise error


@dataclass(frozen=True)
class SetStatus:
    """A set of real examples: what it is to a run, where it is, how many images it has (None: not known cheaply).

    `problem` says what is wrong or missing and the command or the folder that would provide it; None: it is there.
    """

    name: str
    where: str
    images: int | None
    problem: str | None


def describe_sets(config: DataConfig) -> list[SetStatus]:
    """The sets that a configuration names, in its order; no image is decoded, and nothing is fetched."""
    config = placed(config)
    match config:
        case FolderConfig():
            from dp_real.image_sets import describe_image_sets

            return describe_image_sets(config)
        case FashionConfig():
            from dp_real.fashion import describe_fashion

            return describe_fashion(config)
    return []


def class_names(config: DataConfig) -> tuple[str, ...]:
    """What the labels 0, 1, ... stand for; images in folders are not read for it."""
    config = placed(config)
    if isinstance(config, FolderConfig):
        from dp_real.folders import task_classes

        return task_classes(config).names
    return load_data(config).classes


def sample_shape(config: DataConfig) -> tuple[int, ...]:
    """Shape of one example; images in folders are not read for it."""
    images = isinstance(config, FolderConfig | StandInConfig)
    return (3, config.size, config.size) if images else load_data(config).sample_shape


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
