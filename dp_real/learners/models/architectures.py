"""Classifiers of transformers, images' and texts' alike: fresh ones by architecture and sizes, and their classes."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import torch
from torch import nn
from transformers.models.auto.configuration_auto import AutoConfig

from dp_base.errors import InputError
from dp_real.examples import Task

Network = TypeVar("Network", bound=nn.Module)


def fresh_network(
    kind: Any,
    known: Iterable[str],
    architecture: str,
    sizes: Mapping[str, Any],
    own: Mapping[str, Any],
    wrap: Callable[[Any], Network],
) -> Network:
    """wrap(model), of a fresh model. Draws weights from torch's random state.

    kind: an AutoModelFor… of transformers, which knows the architectures `known`. architecture, sizes: as transformers
    names them. own: what the task asks for, where the architecture has such a key and `sizes` do not set it. Raises
    InputError for unknown names, and if no network can be made of these sizes.
    """
    _require(architecture, known, f"learner.architecture = {architecture!r}: not among those of {kind.__name__}")
    keys = AutoConfig.for_model(architecture).to_dict()
    for key in sizes:
        if key in ("id2label", "label2id", "num_labels"):
            raise InputError(f"learner.config.{key}: leave it out; the classes are the task's")
        _require(key, keys, f"unknown key learner.config.{key} of {architecture}")
    settings = {key: value for key, value in own.items() if key in keys} | dict(sizes)
    try:
        sized = AutoConfig.for_model(architecture, **settings)
        return wrap(kind.from_config(sized, trust_remote_code=False))
    except Exception as error:  # architectures raise errors of many types
        raise InputError(f"learner.config: {architecture} cannot be made of these sizes: {error}") from error


def _require(name: str, known: Iterable[str], problem: str) -> None:
    if name not in known:
        raise InputError(f"{problem}; did you mean {get_close_matches(name, known, n=1, cutoff=0)[0]}?")


def class_names(task: Task) -> dict[str, Any]:
    """The options that give a model of transformers the names of its classes."""
    return {
        "id2label": dict(enumerate(task.classes)),
        "label2id": {name: label for label, name in enumerate(task.classes)},
    }


def freeze_unused(classifier: Network, sample_shape: tuple[int, ...]) -> Network:
    """Freeze weights that no logit depends on, such as a mask token: weight decay alone would change them.

    Raises InputError for a network that cannot classify by itself.
    """
    with torch.enable_grad():
        device = next(classifier.parameters()).device
        try:
            total = classifier.eval()(torch.zeros(1, *sample_shape, device=device)).sum()
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError(f"learner: this model cannot classify: {error}") from error
    weights = [weight for weight in classifier.parameters() if weight.requires_grad]
    for weight, gradient in zip(weights, torch.autograd.grad(total, weights, allow_unused=True), strict=True):
        weight.requires_grad_(gradient is not None)
    return classifier
