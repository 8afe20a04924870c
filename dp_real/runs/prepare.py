"""Loads what a configuration names, and checks that its plan can be carried out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch

from dp_base.errors import InputError, warn_once
from dp_real.config import Config
from dp_real.data.examples import ExampleSet, RealData
from dp_real.data.sets.images import decode_ahead
from dp_real.data.sets.real_rows import tail_counts
from dp_real.evaluate.assess import is_imbalanced
from dp_real.learners.models.network import NetworkLearner
from dp_real.practice.objects import GIVEN, given_object
from dp_real.practice.rounds import check_drawing, loaded
from dp_real.protocols import Generator, Learner
from dp_real.runtime import distributed
from dp_real.runtime.computing import seeded_default_modes

GPU_SHARE = 0.95  # of its memory for torch; the rest is for NCCL, cuDNN and cuBLAS


def load_data(config: Config, *, test: bool = True, further: Mapping[str, ExampleSet] = {}) -> RealData:
    """Load the real data, the main process first, and decode what stays in memory and some of the rest.

    Training examples are checked if they are used, and `further` sets.
    """

    data = distributed.main_first(config.real_data)
    looked_at: dict[str, Any] = {**data.sets} if test else {}
    if test and data.test is not data.validation:
        looked_at["test"] = data.test
    if data.train is not None and config.uses_training_examples:
        looked_at["train"] = getattr(data.train, "seen", data.train)
    if data.few is not None:
        looked_at["few"] = data.few
    decode_ahead({**further, "validation": data.validation, **looked_at})
    if config.practice.watch == "accuracy" and is_imbalanced(data.validation):
        y = data.validation.y
        largest = y.mode().values
        warn_once(
            f"{(y == largest).double().mean():.0%} of {len(y):,} validation examples are "
            f"{data.task.classes[largest]!r}, which a constant answer gets right; "
            "practice.watch = 'balanced' uses the mean of the classes' accuracies"
        )
    return data


def load_generator(config: Config, data: RealData | None = None) -> Generator:
    """Load the generator, or train it under torch_settings, the main process first."""
    with torch_settings(config):
        return distributed.main_first(lambda: loaded(config, data))


def fresh_learner(config: Config) -> Learner:
    """A run's first learner. InputError if it is no network and training.logit_adjustment is set."""
    learner = config.learner.fresh(config.task, config.training, config.seed)
    if config.training.logit_adjustment and not isinstance(learner, NetworkLearner):
        raise InputError(f"training.logit_adjustment is for networks: learner.kind = '{config.learner.kind}' is none")
    return learner


def check_plan(config: Config) -> None:
    """Raise InputError if the plan cannot be carried out, MissingError if the task is unknown without missing data."""
    objective = config.guidance.objective
    if objective.startswith(GIVEN):
        given_object(objective.removeprefix(f"{GIVEN} "), "objective")
    check_drawing(config)
    classes, shape = config.task.n_classes, config.task.sample_shape
    size = config.pool.size
    if size and (len(shape) != 3 or size < max(shape[1:])):
        raise InputError(f"pool.size = {size}: must be 0, or at least the side of the learner's images {list(shape)}")
    of_images = [key for key in ("crop", "flip", "cutmix", "randaugment") if getattr(config.training, key)]
    if of_images and len(shape) != 3:
        raise InputError(f"training.{of_images[0]} is for images [C, H, W]; samples are {list(shape)}: leave it out")
    if config.training.randaugment and not config.task.has_pictures:
        raise InputError(f"training.randaugment is for 1 or 3 channels; samples are {list(shape)}: leave it out")
    if config.practice.initial < classes and not config.data.real_per_class:
        raise InputError(f"practice.initial = {config.practice.initial}: fewer examples than the {classes} classes")


def check_real_examples(config: Config, data: RealData) -> None:
    """Raise InputError if too few real examples exist, in total or of a class."""
    options, classes = config.practice, data.task.n_classes
    n_real, labels = options.real, torch.empty(0, dtype=torch.int64) if data.train is None else data.train.y
    key = f"practice.real = {n_real}"
    if n_real > len(labels):
        raise InputError(f"{key}: there are {len(labels)} real training examples; the arm real-{len(labels)} has all")
    if not n_real or options.imbalance <= 1:
        return
    if n_real < classes:
        raise InputError(f"{key}: a long tail of {classes} classes needs more")
    wanted = tail_counts(n_real, classes, options.imbalance, config.data.split)
    there = labels.bincount(minlength=classes).numpy()
    for label in (wanted > there).nonzero()[0][:1]:
        raise InputError(
            f"{key} with imbalance = {options.imbalance:g} needs {wanted[label]} real "
            f"examples of {data.task.classes[label]!r}: there are {there[label]}; lower either"
        )


_torch = RLock()  # all threads share torch's settings and random numbers


@contextmanager
def torch_settings(config: Config) -> Iterator[None]:
    """Make torch compute as configured, for one thread at a time. With "bfloat16" float32 products are TF32."""
    with _torch, seeded_default_modes(config.seed):
        threads = torch.get_num_threads()
        precision = torch.get_float32_matmul_precision()
        torch.set_num_threads(config.threads or threads)
        if (place := distributed.device()).type == "cuda":  # a single process has no index, which means the present GPU
            torch.cuda.set_per_process_memory_fraction(GPU_SHARE, place.index)
        if config.training.precision == "bfloat16":
            torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_float32_matmul_precision(precision)
