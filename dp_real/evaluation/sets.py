"""A learner on sets of real images, some of which have a part of its classes only."""

from collections.abc import Mapping
from typing import Any

import torch

from dp_real.evaluation.assess import logits
from dp_real.examples import ExampleSet
from dp_real.protocols import Learner
from dp_real.runtime.processes import distribute, read_slices


def evaluate_sets(learner: Learner, sets: Mapping[str, ExampleSet]) -> list[dict[str, Any]]:
    """One row a set: its name, images, classes, accuracy and its standard error.

    A set may have some of the classes only: the learner then chooses among these, and `classes` says how many they are.
    """
    return [{"set": name} | masked_accuracy(learner, images) for name, images in sets.items()]


@torch.no_grad()
def masked_accuracy(learner: Learner, images: ExampleSet) -> dict[str, Any]:
    """Accuracy where the learner may answer only with the classes that the images have, and its standard error."""
    present = images.y.unique()
    parts = read_slices(len(images.y))
    answers = distribute(lambda rows: present[logits(learner, images.x[rows])[:, present].argmax(1)], parts)
    correct = torch.cat(answers) == images.y
    accuracy, n = correct.double().mean().item(), len(correct)
    return {"images": n, "classes": len(present), "accuracy": accuracy, "se": (accuracy * (1 - accuracy) / n) ** 0.5}
