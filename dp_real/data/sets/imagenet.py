"""ImageNet's classes: folders, order in each task, and names in prompts."""

import csv
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Literal, get_args

from pydantic import BaseModel, Field

ImageNetTask = Literal["imagenet1k", "imagenet100"]
TASKS = get_args(ImageNetTask)


class ImageNetClass(BaseModel, frozen=True):
    """One class of ImageNet, a row of the table."""

    wnid: str  # WordNet id, the name of its folder
    index: int = Field(alias="imagenet1k_index")  # among all, sorted by folder; ImageNet-V2 names its folders by it
    name: str  # used in prompts; six differ from the usual list, which gives pairs of classes the same name
    definitions: str  # WordNet's
    synonyms: str  # WordNet's words for it, its name among them, separated by commas; hub sets name it so
    in_imagenet_a: bool
    in_imagenet_r: bool


@cache
def imagenet_classes(task: ImageNetTask) -> tuple[ImageNetClass, ...]:
    """Classes in the order of labels; ImageNet-100 is CMC's (Tian et al. 2020)."""
    text = (resources.files("dp_real.data.sets") / "imagenet_classes.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row[f"{task}_index"]]
    rows.sort(key=lambda row: int(row[f"{task}_index"]))
    return tuple(map(ImageNetClass.model_validate, rows))


def imagenet_of(names: Sequence[str]) -> ImageNetTask | None:
    """The ImageNet task with these class names in this order."""
    return next((task for task in TASKS if list(names) == [entry.name for entry in imagenet_classes(task)]), None)


def shared_labels(task: ImageNetTask, dataset: str) -> list[int]:
    """The task's labels in a published set: those of its 200 classes for imagenet-a and imagenet-r, else all."""
    column = f"in_{dataset.replace('-', '_')}"
    return [label for label, entry in enumerate(imagenet_classes(task)) if getattr(entry, column, True)]
