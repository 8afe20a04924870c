"""A pipeline of diffusers as a Generator, and the prompts or numbers that it is asked for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt64
from torch import Tensor

from dp_base.errors import InputError
from dp_real.data.imagenet.classes import imagenet_classes, imagenet_of
from dp_real.generators.pipelines.latent_diffusion import LatentDiffusion
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.pixels import fit
from dp_real.runtime.seeds import row_noise


class PipelineGenerator:
    """A Generator of images whose classes are prompts, or class numbers of a DiT.

    Parameters
    ----------
    model
        Draws the images.
    asked
        For each class, its prompts or class numbers. A row's seed picks one of them.
    sample_shape
        [channels, height, width] of the images, as the learner sees them.
    """

    def __init__(self, model: LatentDiffusion, asked: Sequence[Sequence[Any]], sample_shape: tuple[int, ...]) -> None:
        self.model = model
        self.asked = asked
        self.sample_shape = sample_shape
        self.n_classes = len(asked)

    def sample(
        self,
        labels: Int64[Tensor, " batch"],
        seeds: UInt64[np.ndarray, " batch"],
        guidance: EntropyGuidance | None,
    ) -> Float32[Tensor, "batch channels height width"]:
        """See Generator."""
        noise = row_noise(seeds, self.model.latent_shape)
        to_learner = partial(fit, shape=self.sample_shape)
        return self.model.sample(self._pick(labels, seeds), noise, guidance, to_learner).cpu()

    def resized(self, sample_shape: tuple[int, ...]) -> PipelineGenerator:
        """See AnySize. The two share the pipeline."""
        return PipelineGenerator(self.model, self.asked, sample_shape)

    def offload(self) -> None:
        """See Generator."""
        self.model.offload()

    def _pick(self, labels: Int64[Tensor, " batch"], seeds: UInt64[np.ndarray, " batch"]) -> list[Any]:
        """The prompt or class number of each row."""
        choices = [self.asked[label] for label in labels.tolist()]
        return [several[seed % len(several)] for several, seed in zip(choices, seeds.tolist(), strict=True)]


def class_numbers(id2label: Mapping[str, str], classes: Sequence[str]) -> list[list[int]]:
    """The numbers of classes in a class-conditional pipeline.

    Classes of an ImageNet task have ImageNet's numbers (folders sorted). Others are looked up in the pipeline's own
    id2label: by one of a class's names, by all of them, or by the number.

    Parameters
    ----------
    id2label
        Number -> the names of a class, with commas between.
    classes
        The names to look up.

    Returns
    -------
    list[list[int]]
        For each class, a list of its one number.

    Raises
    ------
    InputError
        For a class that has no number, or several.
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
