"""Accuracy of a learner on sets of real images, which may lack some of its classes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dp_real.config import Config
from dp_real.data.sets.long_tail import shots, tail_counts
from dp_real.evaluation.assess import predictions
from dp_real.examples import ExampleSet
from dp_real.protocols import Learner


def evaluate_sets(learner: Learner, sets: Mapping[str, ExampleSet]) -> list[dict[str, Any]]:
    """Return a row for each set: `set`, its name, and what `masked_accuracy` returns."""
    return [{"set": name} | masked_accuracy(learner, images) for name, images in sets.items()]


def masked_accuracy(learner: Learner, images: ExampleSet) -> dict[str, Any]:
    """Measure a learner that chooses only among the classes that a set has.

    The result has `images` and `classes` (how many there are), `accuracy`, and its standard error `se`.
    """
    present = images.y.unique()
    return _counted(predictions(learner, images, among=present) == images.y, present)


def evaluate_shots(config: Config, learner: Learner, images: ExampleSet) -> list[dict[str, Any]]:
    """Return rows as `evaluate_sets` does, for the classes with many, medium and few real training examples.

    The learner chooses among all classes. There are none unless practice.imbalance makes classes differ.
    """
    options = config.practice
    if options.imbalance == 1:
        return []
    counts = tail_counts(options.all_real, config.task.n_classes, options.imbalance, config.data.split)
    correct = predictions(learner, images) == images.y
    groups = shots(torch.from_numpy(counts))
    return [{"set": name} | _counted(correct[torch.isin(images.y, group)], group) for name, group in groups.items()]


def _counted(correct: Tensor, classes: Tensor) -> dict[str, Any]:
    accuracy = correct.double().mean().item()
    n = len(correct)
    return {"images": n, "classes": len(classes), "accuracy": accuracy, "se": standard_error(accuracy, n)}


def standard_error(accuracy: float, n: int) -> float:
    """Return the binomial standard error of an accuracy over n independent examples."""
    return (accuracy * (1 - accuracy) / n) ** 0.5
