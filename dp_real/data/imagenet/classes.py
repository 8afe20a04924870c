"""ImageNet's classes: their folders, their order in each task, and the names that prompts call them by."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

ImageNetTask = Literal["imagenet1k", "imagenet100"]
TASKS: tuple[ImageNetTask, ...] = ("imagenet1k", "imagenet100")

# Names for pairs of classes that the list calls by the same name, up to capitals.
PROMPT_NAMES = {
    "n02012849": "crane bird",
    "n03126707": "construction crane",
    "n02113186": "Cardigan Welsh corgi",
    "n02963159": "knitted cardigan",
    "n03710637": "maillot tights",
    "n03710721": "maillot swimsuit",
}


@dataclass(frozen=True)
class ImageNetClass:
    """One class. index: among all 1,000, in the order of their folders; ImageNet-V2 names its folders by it."""

    wnid: str
    index: int
    name: str  # unique; used in prompts
    definition: str  # WordNet's
    synonyms: str  # WordNet's words for it, its name among them, between commas
    lemmas: tuple[str, ...]  # WordNet's words for it in one string, as hub sets name it; none if another class has them
    in_imagenet_a: bool
    in_imagenet_r: bool


@cache
def imagenet_classes(task: ImageNetTask) -> tuple[ImageNetClass, ...]:
    """The classes of a task; label i is the i-th. ImageNet-100 is that of CMC (Tian et al. 2020), in CMC's order."""
    text = (resources.files("dp_real.data.imagenet") / "classes.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row[f"{task}_index"]]
    rows.sort(key=lambda row: int(row[f"{task}_index"]))
    return tuple(
        ImageNetClass(
            row["wnid"],
            int(row["imagenet1k_index"]),
            PROMPT_NAMES.get(row["wnid"], row["name"]),
            row["definition"],
            row["lemmas"],
            () if row["lemmas"] == "crane" else (row["lemmas"],),  # the only string that two classes share
            row["in_imagenet_a"] == "1",
            row["in_imagenet_r"] == "1",
        )
        for row in rows
    )


def imagenet_of(names: Sequence[str]) -> ImageNetTask | None:
    """The ImageNet task that has these class names in this order; None if there is none."""
    for task in TASKS:
        if tuple(names) == tuple(entry.name for entry in imagenet_classes(task)):
            return task
    return None


def shared_labels(task: ImageNetTask, dataset: str) -> list[int]:
    """The labels of a task that a data set has. imagenet-a and imagenet-r have 200 of the 1,000 classes, others all."""
    classes = imagenet_classes(task)
    match dataset:
        case "imagenet-a":
            return [label for label, entry in enumerate(classes) if entry.in_imagenet_a]
        case "imagenet-r":
            return [label for label, entry in enumerate(classes) if entry.in_imagenet_r]
    return list(range(len(classes)))
