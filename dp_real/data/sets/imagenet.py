"""ImageNet's classes: folders, order in each task, and names in prompts."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

ImageNetTask = Literal["imagenet1k", "imagenet100"]
TASKS: tuple[ImageNetTask, ...] = ("imagenet1k", "imagenet100")

# Names for pairs of classes that the list calls by the same name, apart from capitals.
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
    """One class of ImageNet."""

    wnid: str  # WordNet id, the name of its folder
    index: int  # its place among all 1,000 classes, sorted by folder; ImageNet-V2 names its folders by it
    name: str  # unique; used in prompts
    definition: str  # WordNet's
    synonyms: str  # WordNet's words for it with its name among them, separated by commas
    lemmas: tuple[str, ...]  # WordNet's words in one string, as hub sets name it; empty if another class has the same
    in_imagenet_a: bool
    in_imagenet_r: bool


@cache
def imagenet_classes(task: ImageNetTask) -> tuple[ImageNetClass, ...]:
    """In the order of labels; ImageNet-100 is that of CMC (Tian et al. 2020)."""
    text = (resources.files("dp_real.data.sets") / "imagenet_classes.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row[f"{task}_index"]]
    rows.sort(key=lambda row: int(row[f"{task}_index"]))
    return tuple(
        ImageNetClass(
            wnid=row["wnid"],
            index=int(row["imagenet1k_index"]),
            name=PROMPT_NAMES.get(row["wnid"], row["name"]),
            definition=row["definition"],
            synonyms=row["lemmas"],
            lemmas=() if row["lemmas"] == "crane" else (row["lemmas"],),  # the only string that two classes share
            in_imagenet_a=row["in_imagenet_a"] == "1",
            in_imagenet_r=row["in_imagenet_r"] == "1",
        )
        for row in rows
    )


def imagenet_of(names: Sequence[str]) -> ImageNetTask | None:
    """The ImageNet task with these class names in this order."""
    return next((task for task in TASKS if list(names) == [entry.name for entry in imagenet_classes(task)]), None)


def shared_labels(task: ImageNetTask, dataset: str) -> list[int]:
    """The labels of a task that a published set has: 200 of 1,000 for imagenet-a and imagenet-r, else all."""
    column = f"in_{dataset.replace('-', '_')}"
    return [label for label, entry in enumerate(imagenet_classes(task)) if getattr(entry, column, True)]
