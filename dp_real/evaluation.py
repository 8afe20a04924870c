"""A finished run's learner on further sets of real images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dp_real.config import Config, FolderConfig, load_config
from dp_real.data import load_data
from dp_real.errors import InputError
from dp_real.folders import Classes, own_classes, read_folder, task_classes
from dp_real.imagenet import TASKS, shared_labels
from dp_real.learner import NetworkLearner, fresh_learner
from dp_real.protocols import Labelled, Learner, RealData


def evaluate(run: Path, sets: Mapping[str, Path]) -> list[dict[str, Any]]:
    """One row a set, the run's own validation and test sets first: name, images, classes, accuracy and its se.

    A set may have some of the classes only: the learner then chooses among these, and `classes` says how many they
    are. A set called imagenet-a or imagenet-r must have all that the published one shares with the task.
    Raises InputError for a run that is not finished or not of images, and for what read_folder complains of.
    """
    config = load_config(run / "config.toml")
    if not (run / "result.json").exists():
        raise InputError(f"{run}: not finished, so there is no learner yet; go on with it by dp real resume {run}")
    data = load_data(config.data)
    shape = data.sample_shape
    if len(shape) != 3 or shape[1] != shape[2]:
        raise InputError(f"{run}: its examples are no square images but have shape {list(shape)}")
    classes = folder_classes(config, data)
    images: dict[str, Labelled] = {"validation": data.validation, "test": data.test}
    for name, folder in sets.items():
        images[name] = read_folder(folder, classes, shape, needed_labels(config, name))
    learner = fresh_learner(config, data)
    assert isinstance(learner, NetworkLearner)  # the others learn no images
    learner.load(run / "learner")
    return [{"set": name} | masked_accuracy(learner, part) for name, part in images.items()]


def folder_classes(config: Config, data: RealData) -> Classes:
    """Which folder is which class of the run's task."""
    return task_classes(config.data) if isinstance(config.data, FolderConfig) else own_classes(data.classes)


def needed_labels(config: Config, name: str) -> list[int]:
    """The labels that a set of that name must have."""
    if isinstance(config.data, FolderConfig) and config.data.classes in TASKS and name.startswith("imagenet-"):
        return shared_labels(config.data.classes, name)
    return []


@torch.no_grad()
def masked_accuracy(learner: Learner, images: Labelled, batch_size: int = 256) -> dict[str, Any]:
    """Accuracy where the learner may answer only with the classes that the images have, and its standard error."""
    present = images.y.unique()
    correct = torch.cat(
        [
            present[learner.logits(x)[:, present].argmax(1).cpu()] == y
            for x, y in zip(images.x.split(batch_size), images.y.split(batch_size), strict=True)
        ]
    )
    accuracy, n = correct.double().mean().item(), len(correct)
    return {"images": n, "classes": len(present), "accuracy": accuracy, "se": (accuracy * (1 - accuracy) / n) ** 0.5}
