"""A learner on sets of real images, some of which have a part of its classes only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dp_base.errors import InputError
from dp_real.config.config import FolderConfig, load_config
from dp_real.data import load_data, placed
from dp_real.data.sets.folders import own_classes, task_classes
from dp_real.data.sets.places import locate, needed_labels, read_set
from dp_real.evaluation.assess import batches, logits
from dp_real.learners import fresh_learner
from dp_real.protocols import Labelled, Learner
from dp_real.runtime.processes import spread


def evaluate(run: Path, sets: Mapping[str, str | Path]) -> list[dict[str, Any]]:
    """One row a set, see evaluate_sets: the run's validation and test, its further sets, and these (name: where).

    A set called imagenet-a or imagenet-r must have all that the published one shares with the task.
    Raises InputError for a run that is not finished or not of images, and what dp_real.data.sets.places does.
    """
    config = load_config(run / "config.toml")
    if not (run / "result.json").exists():
        raise InputError(f"{run}: not finished, so there is no learner yet; go on with it by dp real resume {run}")
    found = {name: locate(str(where)) for name, where in sets.items()}
    source, data = placed(config.data), load_data(config.data)
    shape = data.sample_shape
    if len(shape) != 3 or shape[1] != shape[2]:
        raise InputError(f"{run}: its examples are no square images but have shape {list(shape)}")
    classes = task_classes(source) if isinstance(source, FolderConfig) else own_classes(data.classes)
    images: dict[str, Labelled] = {"validation": data.validation, "test": data.test, **data.sets}
    for name, place in found.items():
        if name in images:
            raise InputError(f"{name}={place.where}: the run has a set called {name}; give this one another name")
        needed = needed_labels(source, name) if isinstance(source, FolderConfig) else ()
        images[name] = read_set(place, classes, shape, needed, keep=False)
    learner = fresh_learner(config, data)
    learner.load(run / "learner")
    return evaluate_sets(learner, images)


def evaluate_sets(learner: Learner, sets: Mapping[str, Labelled]) -> list[dict[str, Any]]:
    """One row a set: its name, images, classes, accuracy and its standard error.

    A set may have some of the classes only: the learner then chooses among these, and `classes` says how many they are.
    """
    return [{"set": name} | masked_accuracy(learner, images) for name, images in sets.items()]


@torch.no_grad()
def masked_accuracy(learner: Learner, images: Labelled) -> dict[str, Any]:
    """Accuracy where the learner may answer only with the classes that the images have, and its standard error."""
    present = images.y.unique()
    parts = batches(len(images.y))
    answers = spread(lambda rows: present[logits(learner, images.x[rows])[:, present].argmax(1)], parts)
    correct = torch.cat(answers) == images.y
    accuracy, n = correct.double().mean().item(), len(correct)
    return {"images": n, "classes": len(present), "accuracy": accuracy, "se": (accuracy * (1 - accuracy) / n) ** 0.5}
