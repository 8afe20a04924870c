"""Images of noise in place of ImageNet and four related sets; accuracies mean nothing."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from dp_real.data import DATA, DataConfig
from dp_real.data.examples import ExampleSet, RealData, SetStatus, Task
from dp_real.data.image_folder import FolderConfig, Resize
from dp_real.data.sets.imagenet import ImageNetTask, imagenet_classes, shared_labels
from dp_real.runtime.section import Seed, Width

RECIPE = 1  # raise it when the written files change
FURTHER = ("imagenet-v2", "imagenet-sketch", "imagenet-r", "imagenet-a")


@DATA.named("stand-in", place=6)
class StandInConfig(DataConfig):
    """Noise in the folders of ImageNet and its relatives, to try out a run."""

    note = "its images are noise; its accuracies mean nothing"

    source: Literal["stand-in"]
    classes: ImageNetTask = Field(default="imagenet100", description="whose classes")
    size: Width = Field(default=32, description="pixels a side")
    resize: Resize = 0
    split: Seed = Field(default=0, description="seed of the noise")

    @property
    def task(self) -> Task:
        return self._folders(Path()).task

    @property
    def folders(self) -> FolderConfig:
        from dp_real.runtime.cache import cached

        depends = {"recipe": RECIPE, "images": 1, "size": self.size, "seed": self.split}
        return self._folders(cached("stand-in/imagenet", depends, lambda staged: write_sets(self, staged)))

    def load(self) -> RealData:
        return self.folders.load()

    def describe(self) -> list[SetStatus]:
        return self.folders.describe()

    def read_set(self, name: str, where: str) -> ExampleSet:
        return self.folders.read_set(name, where)

    def _folders(self, root: Path) -> FolderConfig:
        """The folders of each set's published classes."""
        return FolderConfig(
            source="folder",
            **self.model_dump(exclude={"source"}),
            validation=f"{root}/imagenet/val",
            test=f"{root}/imagenet/train",
            train=f"{root}/imagenet/val",
            sets={name: f"{root}/{name}" for name in FURTHER},
        )


def write_sets(config: StandInConfig, root: Path) -> None:
    """Write all six sets, in folders named by WordNet ids or, for ImageNet-V2, by numbers."""
    import numpy as np
    from PIL import Image

    from dp_real.runtime.seeds import Stream, rng

    every = imagenet_classes("imagenet1k")
    for position, name in enumerate(("imagenet/val", "imagenet/train", *FURTHER)):
        draw = rng(config.split, Stream.SPLIT, position)
        shape = (config.size, config.size + 4, 3)  # not square, so that reading must crop
        for label in shared_labels("imagenet1k", name):
            folder = root / name / (str(label) if name == "imagenet-v2" else every[label].wnid)
            folder.mkdir(parents=True)
            Image.fromarray(draw.integers(256, size=shape, dtype=np.uint8)).save(folder / "0.JPEG")
