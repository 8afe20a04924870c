"""Real data by source. Each source is a file here and a section of dp_real.config.config."""

from functools import partial

from dp_base.errors import InputError
from dp_real.config.config import (
    DataConfig,
    DigitsConfig,
    FashionConfig,
    FolderConfig,
    GaussianDataConfig,
    StandInConfig,
)
from dp_real.evaluation.assess import batches
from dp_real.protocols import RealData, SetStatus
from dp_real.runtime import processes


def load_data(config: DataConfig) -> RealData:
    """The real examples that a configuration names."""
    config = placed(config)
    match config:
        case DigitsConfig():
            from dp_real.data.digits import load_digits

            return load_digits(config.split)
        case FashionConfig():
            from dp_real.data.fashion import load_fashion

            return load_fashion(config)
        case GaussianDataConfig():
            from dp_real.data.gaussian import load_gaussian

            return load_gaussian(config)
        case FolderConfig():
            from dp_real.data.sets.places import load_image_sets

            return load_image_sets(config)


def placed(config: DataConfig) -> DigitsConfig | FashionConfig | GaussianDataConfig | FolderConfig:
    """The configuration of what is read: of stand-ins that is their folders, made now if need be."""
    if isinstance(config, StandInConfig):
        from dp_real.data.stand_in import stand_in_folders

        return stand_in_folders(config)
    return config


def decode_ahead(data: RealData) -> None:
    """Decode the images that are kept, each process its share: a broken one stops a run before it begins."""
    from dp_real.data.sets.folders import ImageFiles

    def complaint(images: ImageFiles, rows: slice) -> InputError | None:
        try:
            images[rows]
        except InputError as error:
            return error

    for images in {id(part.x): part.x for part in (data.validation, data.test)}.values():
        if isinstance(images, ImageFiles) and images.kept:
            found = processes.spread(partial(complaint, images), batches(len(images)))
            for error in filter(None, found):  # all processes raise the first one
                raise error


def describe_sets(config: DataConfig) -> list[SetStatus]:
    """The sets that a configuration names, in its order; no image is decoded, and nothing is fetched."""
    config = placed(config)
    match config:
        case FolderConfig():
            from dp_real.data.sets.places import describe_image_sets

            return describe_image_sets(config)
        case FashionConfig():
            from dp_real.data.fashion import describe_fashion

            return describe_fashion(config)
    return []


def class_names(config: DataConfig) -> tuple[str, ...]:
    """What the labels 0, 1, ... stand for; images in folders are not read for it."""
    config = placed(config)
    if isinstance(config, FolderConfig):
        from dp_real.data.sets.folders import task_classes

        return task_classes(config).names
    return load_data(config).classes


def sample_shape(config: DataConfig) -> tuple[int, ...]:
    """Shape of one example; images in folders are not read for it."""
    images = isinstance(config, FolderConfig | StandInConfig)
    return (3, config.size, config.size) if images else load_data(config).sample_shape
