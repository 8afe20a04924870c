"""Accuracy of a learner on sets of real images, which may lack some of its classes."""

from collections.abc import Mapping
from typing import Any

from dp_real.evaluation.assess import predictions
from dp_real.examples import ExampleSet
from dp_real.protocols import Learner


def evaluate_sets(learner: Learner, sets: Mapping[str, ExampleSet]) -> list[dict[str, Any]]:
    """Return a row for each set: `set` (its name) and what `masked_accuracy` returns."""
    return [{"set": name} | masked_accuracy(learner, images) for name, images in sets.items()]


def masked_accuracy(learner: Learner, images: ExampleSet) -> dict[str, Any]:
    """Measure a learner that chooses only among the classes that a set has.

    The result has `images` and `classes` (how many there are), `accuracy`, and `se`, the accuracy's standard error.
    """
    present = images.y.unique()
    correct = predictions(learner, images, among=present) == images.y
    accuracy = correct.double().mean().item()
    n = len(correct)
    return {"images": n, "classes": len(present), "accuracy": accuracy, "se": standard_error(accuracy, n)}


def standard_error(accuracy: float, n: int) -> float:
    """Return the binomial standard error of an accuracy over n independent examples."""
    return (accuracy * (1 - accuracy) / n) ** 0.5
