"""What classifiers of transformers share, whatever their examples."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import AutoConfig

from dp_base.errors import InputError, MissingError
from dp_base.reading import cause_of
from dp_real.data.examples import Task
from dp_real.runtime.model_folders import missing_package

Network = TypeVar("Network", bound=nn.Module)
POOLER = "pooler."
"""Prefix of the weights of a layer after an encoder, which pretraining often omits."""
LABELS = ("id2label", "label2id", "num_labels")
"""The keys for classes in each config of transformers. timm's has them only if all three are given."""


def fresh_network(
    kind: Any,
    known: Iterable[str],
    architecture: str,
    sizes: Mapping[str, Any],
    own: Mapping[str, Any],
    wrap: Callable[[Any], Network],
) -> Network:
    """Make a fresh model by a class AutoModelFor…, with weights from torch's random state, and wrap it.

    `own` are sizes of the task, used where the architecture has them and `sizes` does not.
    """
    _require(architecture, known, f"learner.architecture = {architecture!r}: not among those of {kind.__name__}")
    keys = AutoConfig.for_model(architecture).to_dict()
    for key in sizes:
        if key in LABELS:
            raise InputError(f"learner.config.{key}: leave it out; the classes are the task's")
        _require(key, keys, f"unknown key learner.config.{key} of {architecture}")
    settings = {key: value for key, value in own.items() if key in keys or key in LABELS} | dict(sizes)
    try:
        sized = AutoConfig.for_model(architecture, **settings)
        return wrap(kind.from_config(sized, trust_remote_code=False))
    except ImportError as error:
        raise MissingError(f"learner.architecture = {architecture!r}: {missing_package(error)}") from error
    except Exception as error:  # the type depends on the architecture
        raise InputError(f"learner.config: {architecture} cannot be made of these sizes: {cause_of(error)}") from error


def _require(name: str, known: Iterable[str], problem: str) -> None:
    if name not in known:
        raise InputError(f"{problem}; did you mean {get_close_matches(name, known, n=1, cutoff=0)[0]}?")


def class_names(task: Task) -> dict[str, Any]:
    """The options that name the task's classes in a model of transformers."""
    return {
        "id2label": dict(enumerate(task.classes)),
        "label2id": {name: label for label, name in enumerate(task.classes)},
        "num_labels": len(task.classes),
    }


def freeze_unused(classifier: Network, sample_shape: tuple[int, ...]) -> Network:
    """Freeze weights that no logit depends on, which weight decay alone would change."""
    with torch.enable_grad():
        device = next(classifier.parameters()).device
        try:
            total = classifier.eval()(torch.zeros(1, *sample_shape, device=device)).sum()
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError(f"learner: this model cannot classify: {error}") from error
    weights = [weight for weight in classifier.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(total, weights, allow_unused=True)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.requires_grad_(gradient is not None)
    return classifier


def is_of_head(model: Any, name: str) -> bool:
    """Whether a weight is outside the largest part, so in the last layers, which a model of another task lacks."""
    part, _, within = name.partition(".")
    if hasattr(model, "timm_model"):
        last = model.timm_model.pretrained_cfg["classifier"]
        return within.startswith(tuple(f"{each}." for each in ([last] if isinstance(last, str) else last)))
    largest, _ = max(model.named_children(), key=lambda child: sum(weight.numel() for weight in child[1].parameters()))
    return part != largest or within.startswith(POOLER)
