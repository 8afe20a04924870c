"""The data source of a user's own images, or ImageNet's, in folders, shards or data sets."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from dp_real.data import DATA
from dp_real.data.examples import Task
from dp_real.data.sets.own import OwnSets
from dp_real.runtime.section import Width

if TYPE_CHECKING:
    from dp_real.data.sets.images import ImageSet, TrainingImages


def _check_resize(resize: int, section: ValidationInfo) -> int:
    size = section.data.get("size", 0)
    if 0 < resize < size:
        raise ValueError(f"must be 0, or at least size = {size}")
    return resize


Resize = Annotated[
    int,
    Field(
        ge=0,
        le=2**14,
        description="of images to validate or test, the shorter side before the middle is cropped to `size`; 0: size",
    ),
    AfterValidator(_check_resize),
]
"""A key that must follow the key `size`."""


@DATA.named("folder", place=5)
class FolderConfig(OwnSets):
    """Your own images: class folders, WebDataset shards, Parquet files or a data set of the hub."""

    source: Literal["folder"]
    size: Width = Field(default=224, description="pixels a side: the shorter side is resized, the longer one cropped")
    channels: Literal[1, 3] = Field(default=3, description="3: colour; 1: grey, for generated images, too")
    resize: Resize = 0

    @property
    def task(self) -> Task:
        return replace(super().task, resize=self.resize)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.size, self.size)

    def as_training(self, examples: "ImageSet") -> "TrainingImages":
        from dp_real.data.sets.images import TrainingImages

        return TrainingImages(examples)
