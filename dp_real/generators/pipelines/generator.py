"""A pipeline of diffusers as a Generator, and single images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt64
from torch import Tensor

from dp_base.errors import InputError
from dp_real.data.sets.imagenet import imagenet_classes, imagenet_of
from dp_real.examples import TrainingExamples
from dp_real.generators.pipelines.calls import PipelineCalls
from dp_real.generators.pipelines.latent_diffusion import OWN_LOOP, LatentDiffusion, PipelineSampler
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.pixels import fit
from dp_real.runtime.seeds import Stream, rng, row_seeds


def sampler_of(
    pipe: Any, steps: int, guidance_scale: float, tiny_decoder: Any = None, **options: Any
) -> PipelineSampler:
    """The own loop where it knows the pipeline, else the pipeline's calls."""
    kind = LatentDiffusion if type(pipe).__name__ in OWN_LOOP else PipelineCalls
    return kind(pipe, steps, guidance_scale, tiny_decoder, **options)


@dataclass(eq=False)
class PipelineGenerator:
    """Images of classes that are prompts, or class numbers of a DiT.

    A row's seed picks one of those `asked` for its class, and one of the class's `real` images if it begins with these.
    """

    model: PipelineSampler
    asked: Sequence[Sequence[Any]]
    sample_shape: tuple[int, ...]
    real: TrainingExamples | None = None

    def __post_init__(self) -> None:
        self.n_classes = len(self.asked)
        if self.real is not None:
            self.rows = [(self.real.y == label).nonzero().flatten() for label in range(self.n_classes)]
            if min(map(len, self.rows)) == 0:
                raise InputError("generator.strength: some class has no image among data.train to begin with")

    def sample(
        self,
        labels: Int64[Tensor, " batch"],
        seeds: UInt64[np.ndarray, " batch"],
        guidance: EntropyGuidance | None,
    ) -> Float32[Tensor, "batch channels height width"]:
        asked, noise = self._pick(labels, seeds), self.model.noise(seeds)
        to_learner = partial(fit, shape=self.sample_shape)
        return self.model.sample(asked, noise, guidance, to_learner, self.beginnings(labels, seeds)).cpu()

    def resized(self, sample_shape: tuple[int, ...]) -> PipelineGenerator:
        """The two share the pipeline."""
        return replace(self, sample_shape=sample_shape)

    def offload(self) -> None:
        self.model.offload()

    def beginnings(self, labels: Int64[Tensor, " batch"], seeds: UInt64[np.ndarray, " batch"]) -> Tensor | None:
        """The real images that rows begin with; None: they begin with noise."""
        if self.real is None:
            return None
        draws = [rng(seed, Stream.START).random() for seed in seeds.tolist()]
        ours = [self.rows[label] for label in labels.tolist()]
        return self.real.x[torch.stack([rows[int(draw * len(rows))] for rows, draw in zip(ours, draws, strict=True)])]

    def _pick(self, labels: Int64[Tensor, " batch"], seeds: UInt64[np.ndarray, " batch"]) -> list[Any]:
        choices = [self.asked[label] for label in labels.tolist()]
        return [several[seed % len(several)] for several, seed in zip(choices, seeds.tolist(), strict=True)]


def class_numbers(id2label: Mapping[str, str], classes: Sequence[str]) -> list[list[int]]:
    """The numbers of classes in a pipeline: ImageNet's own, else by names or numbers in id2label."""
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


def sample_images(
    pipe: Any,
    prompts: Sequence[str | int],
    guidance: EntropyGuidance | None = None,
    *,
    steps: int = 50,
    guidance_scale: float = 7.5,
    seed: int = 0,
    size: tuple[int, int] | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Draw an image for each prompt. This freezes the pipeline.

    Parameters
    ----------
    pipe
        A pipeline of diffusers. Stable Diffusion 1, 2 and XL and DiT are drawn by DDIM. Others are called as they are:
        their guidance is through = "x0", scale = "relative".
    prompts
        What to draw; of a DiT the class numbers.
    guidance
        What guides the sampler. Its `logits` read images of the form that is returned. None: the images are plain.
    steps
        Of the sampler.
    guidance_scale
        Of classifier-free guidance; 1 or less: none.
    seed
        The noise of image i is a function of `seed` and i alone.
    size
        Height and width in pixels; None: the pipeline's usual size.

    Returns
    -------
    Float[Tensor, "batch 3 height width"]
        The images, in [-1, 1].

    Raises
    ------
    InputError
        For a pipeline that cannot be guided or draw that size, and for guidance that it cannot have.
    MissingError
        If not even one image fits into the GPU.

    Examples
    --------
    With any image classifier of transformers:

        logits = Classifier(vit, size=224, mean=[0.5] * 3, std=[0.5] * 3)  # dp_real.learners.models.classifier
        guidance = EntropyGuidance(logits, omega=0.05, every=5, through="x0")
        images = sample_images(pipe, ["a photo of a crane"] * 8, guidance)
    """
    model = sampler_of(pipe, steps, guidance_scale, size=size)
    return model.sample(prompts, model.noise(row_seeds(seed, 0, range(len(prompts)))), guidance)
