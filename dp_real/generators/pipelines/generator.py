"""A pipeline of diffusers as a Generator, and the prompts or numbers that it is asked for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from dp_base.errors import InputError
from dp_real.data.imagenet.classes import imagenet_classes, imagenet_of
from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.pixels import fit
from dp_real.runtime.seeds import row_noise


class PipelineGenerator:
    """A Generator whose classes are prompts, or class numbers of a DiT. A row's seed picks one of a class's several."""

    def __init__(self, model: LatentDiffusion, asked: Sequence[Sequence[Any]], sample_shape: tuple[int, ...]) -> None:
        """asked: for each class, its prompts or class numbers. sample_shape: [C, h, w] of the images."""
        self.model = model
        self.asked = asked
        self.sample_shape = sample_shape
        self.n_classes = len(asked)

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """See Generator."""
        noise = row_noise(seeds, self.model.latent_shape)
        view = partial(fit, shape=self.sample_shape)
        return self.model.sample(self._pick(labels, seeds), noise, guidance, view).cpu()

    def resized(self, sample_shape: tuple[int, ...]) -> PipelineGenerator:
        """See AnySize. Both share the pipeline."""
        return PipelineGenerator(self.model, self.asked, sample_shape)

    def rest(self) -> None:
        """See Generator."""
        self.model.rest()

    def _pick(self, labels: Tensor, seeds: np.ndarray) -> list[Any]:
        choices = [self.asked[label] for label in labels.tolist()]
        return [several[seed % len(several)] for several, seed in zip(choices, seeds.tolist(), strict=True)]


def class_numbers(id2label: Mapping[str, str], classes: Sequence[str]) -> list[list[int]]:
    """A list per class: its one number in a class-conditional pipeline.

    An ImageNet task's classes have ImageNet's numbers (folders sorted). Others are looked up in the pipeline's own
    id2label, whose values are names with commas between: by one name, by all of them, or by the number. Raises
    InputError for a class with no number or several.
    """
    task = imagenet_of(classes)
    if task:
        return [[entry.index] for entry in imagenet_classes(task)]
    numbers: dict[str, set[int]] = {}
    for number, names in id2label.items():
        for name in (number, names, *names.split(",")):
            numbers.setdefault(name.strip(), set()).add(int(number))
    for name in classes:
        if len(numbers.get(name, ())) != 1:
            found = " and ".join(map(str, sorted(numbers.get(name, ())))) or "none"
            raise InputError(f"class {name!r}: {found} of the pipeline's classes (id2label in its model_index.json)")
    return [list(numbers[name]) for name in classes]
