"""Stand-ins for ImageNet and the five sets that go with it: noise in the folders of the real ones, made on the spot.

With them the whole path can be tried where the data are not. An accuracy on noise means nothing.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image

from dp_real.config.config import FolderConfig, StandInConfig
from dp_real.imagenet.classes import imagenet_classes
from dp_real.runtime.cache import cached
from dp_real.runtime.seeds import Stream, rng

RECIPE = 1  # raise it when what is written changes


def stand_in_folders(config: StandInConfig) -> FolderConfig:
    """The folders as a user with ImageNet on disk would configure them; they are in the cache, filled now if need be.

    Each set has the classes that the published one has, whatever the task: the others are left out when it is read.
    """
    depends = {"recipe": RECIPE, "images": config.images, "size": config.size, "seed": config.split}
    root = cached("stand-in/imagenet", depends, lambda staged: write_sets(config, staged))
    names = ("imagenet-v2", "imagenet-sketch", "imagenet-r", "imagenet-a")
    return FolderConfig(
        source="folder",
        classes=config.classes,
        size=config.size,
        split=config.split,
        validation=str(root / "imagenet" / "val"),
        test=str(root / "imagenet" / "train"),
        train=str(root / "imagenet" / "val"),
        sets={name: str(root / name) for name in names},
    )


def write_sets(config: StandInConfig, root: Path) -> None:
    """All six sets below `root`. Folders are WordNet ids, but for ImageNet-V2, whose are numbers without zeros."""
    every = imagenet_classes("imagenet1k")
    ids = [entry.wnid for entry in every]
    folders: dict[str, Collection[str]] = {
        "imagenet/val": ids,
        "imagenet/train": ids,
        "imagenet-v2": [str(entry.index) for entry in every],
        "imagenet-sketch": ids,
        "imagenet-r": [entry.wnid for entry in every if entry.in_imagenet_r],
        "imagenet-a": [entry.wnid for entry in every if entry.in_imagenet_a],
    }
    for position, (name, classes) in enumerate(folders.items()):
        draw = rng(config.split, Stream.SPLIT, position)
        for folder in classes:
            (root / name / folder).mkdir(parents=True)
            # Not square, so that reading has something to crop.
            pixels = draw.integers(256, size=(config.images, config.size, config.size + 4, 3), dtype=np.uint8)
            for number, image in enumerate(pixels):
                Image.fromarray(image).save(root / name / folder / f"{number}.JPEG")
