"""Features of examples: by a frozen encoder of images, or by a learner that the generator's real images trained."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dp_base.errors import InputError
from dp_real.config import Config
from dp_real.data.examples import ExampleArray, TrainingExamples
from dp_real.evaluate.assess import penultimate
from dp_real.guidance.entropy import cpu_logits
from dp_real.learners.models.classifier import load_encoder, wrapped_classifier
from dp_real.protocols import Learner
from dp_real.runtime.distributed import slices
from dp_real.runtime.pixels import to_float
from dp_real.runtime.seeds import Stream, torch_rng

Features = Callable[[ExampleArray], np.ndarray]
"""A function of examples [n, *sample_shape] to float [n, d]."""
TOGETHER = 256  # images


def check_features(config: Config) -> None:
    """Raise InputError where `features_of` has neither an encoder, nor a network of real examples, nor raw values."""
    lacks = not config.learner.counted if config.data.has_training_examples else config.data.modality == "text"
    if lacks and not config.practice.encoder:
        remedy = "take a learner that is a network, and for texts data.train"
        raise InputError(f"arms covariance and probe: learner.kind = {config.learner.kind!r} has no features: {remedy}")


def features_of(config: Config, real: TrainingExamples | None) -> Features:
    """What practice.encoder sees, else the penultimate features of a learner of the `real` examples, else raw values.

    Raises MissingError or InputError for an encoder that cannot be read, InputError for a learner without such
    features. All processes call it.
    """
    if config.practice.encoder:
        return pretrained(config)
    check_features(config)
    if real is None:
        return lambda x: x[: x.shape[0]].flatten(1).numpy()
    return partial(penultimate, trained(config, real))


def pretrained(config: Config) -> Features:
    """What practice.encoder sees. Raises InputError if the examples are no images."""
    model: Any = load_encoder(str(config.practice.encoder))
    shape = config.task.sample_shape
    if len(shape) != 3:
        raise InputError(f"practice.encoder = {config.practice.encoder!r} sees images; examples have shape {[*shape]}")
    encode = wrapped_classifier(Pooled(model), shape)

    @torch.no_grad()
    def features(x: ExampleArray) -> np.ndarray:
        parts = [encode(to_float(x[rows].to(model.device))) for rows in slices(slice(0, x.shape[0]), TOGETHER)]
        return torch.cat(parts).float().cpu().numpy()

    return features


class Pooled(nn.Module):
    """A model of transformers that gives the features of a whole image where a classifier gives logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.config = getattr(model.config, "vision_config", model.config)
        self.name_or_path = model.name_or_path
        self.dtype = model.dtype

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        """A pooling layer with weights may be fresh, so the first token stands in its place."""
        if hasattr(self.model, "get_image_features"):
            return SimpleNamespace(logits=self.model.get_image_features(pixel_values=pixel_values).pooler_output)
        seen = self.model(pixel_values=pixel_values)
        pooler = getattr(self.model, "pooler", None)
        is_trained = pooler is not None and any(True for _ in pooler.parameters())
        pooled = None if is_trained else getattr(seen, "pooler_output", None)
        return SimpleNamespace(logits=(seen.last_hidden_state[:, 0] if pooled is None else pooled).flatten(1))


def trained(config: Config, real: TrainingExamples) -> Learner:
    """A learner of the configuration's kind, trained on real examples in its number of steps."""
    training, split = config.training, config.data.split
    learner = config.learner.fresh(config.task, training, split)
    x, n = real.x, len(real.y)
    size = min(training.batch_size or n, n)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(training.steps):
        if len(order) < size:
            order = torch.cat([order, torch.randperm(n, generator=torch_rng(split, Stream.BATCH, step))])
        rows, order = order[:size], order[size:]
        learner.train_step(x[rows], real.y[rows])
    cpu_logits(learner.logits, x[:1])  # raises DivergedError if it is of no use
    return learner
