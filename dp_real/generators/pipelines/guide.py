"""Entropy guidance for the pipelines that people have: one call, and pipe(...) draws what a classifier finds hard."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from inspect import signature
from types import MethodType
from typing import Any

from torch import Tensor, nn

from dp_base.errors import InputError
from dp_real.generators.pipelines.latents import Unpacker, decode, frozen_decoder
from dp_real.generators.pipelines.scheduler import guide_steps, is_guided_scheduler, release
from dp_real.guidance.entropy import EntropyGuidance, entropy
from dp_real.guidance.sampler import identity
from dp_real.sections import is_window

IMAGE = (3, 224, 224)  # of a classifier that does not say what it takes


def guide(
    pipe: Any,
    classifier: str | Callable[[Tensor], Tensor],
    omega: float = 0.05,
    *,
    every: int = 1,
    window: tuple[float, float] = (0.0, 1.0),
    decoder: Any = None,
    objective: Callable[[Tensor], Tensor] = entropy,
) -> Any:
    """Guide a text-to-image or class-conditional pipeline of diffusers. It is then called as before.

    The pipeline keeps its scheduler, whose steps are guided from now on. Its decoder's weights are frozen. If it is
    guided already, it is guided anew.

    Parameters
    ----------
    pipe
        The pipeline.
    classifier
        A folder or hub id of an image classifier of transformers. Or a function of images [batch, 3, height, width] in
        [-1, 1] to logits [batch, classes], which is differentiable and whose rows do not depend on each other.
    omega
        The strength, as in EntropyGuidance. A negative one makes easy images, and 0 leaves the pipeline as it is.
    every, window
        Which steps are guided, as in EntropyGuidance.
    decoder
        An AutoencoderTiny that decodes x0_hat for the classifier, which takes less time and memory. The images always
        come from the pipeline's own decoder.
    objective
        What the samples are pushed towards, as in EntropyGuidance. By default the classifier's uncertainty.

    Returns
    -------
    Any
        The pipeline.

    Raises
    ------
    InputError
        For a scheduler, decoder or classifier that cannot be used, and for numbers out of range.
    MissingError
        If the classifier's weights are missing.

    Examples
    --------
        pipe = dp_real.guide(pipe, "google/vit-base-patch16-224", omega=0.05)
        images = pipe("a photo of a crane").images
        dp_real.unguide(pipe)

    Another objective, here the logit of class 7::

        pipe = dp_real.guide(pipe, classifier, objective=lambda logits: logits[:, 7])
    """
    if not math.isfinite(omega):
        raise InputError(f"omega = {omega}: should be a finite number")
    if every < 1 or not is_window(window):
        raise InputError(f"every = {every}, window = {window}: should be 1 or more, and (begin, end) within 0 and 1")
    unguide(pipe)
    if omega == 0:
        return pipe
    guidance = EntropyGuidance(
        _logits(classifier, pipe), omega, through="x0", every=every, window=window, objective=objective
    )
    if not hasattr(pipe, "scheduler") or not (hasattr(pipe, "vae") or _draws_pixels(pipe)):
        raise InputError(f"{type(pipe).__name__} has no scheduler, or no decoder, that is known here")
    if _draws_pixels(pipe):
        guide_steps(pipe.scheduler, guidance, identity)
        return pipe
    unpack = Unpacker(pipe)
    vae = frozen_decoder(decoder or pipe.vae)
    guide_steps(pipe.scheduler, guidance, lambda x0_hat: decode(vae, unpack(x0_hat)))
    if hasattr(pipe, "prepare_latents"):
        pipe.prepare_latents = MethodType(_noting(type(pipe).prepare_latents, unpack), pipe)
    return pipe


def unguide(pipe: Any) -> Any:
    """End the guidance of a pipeline, if there is any.

    Parameters
    ----------
    pipe
        The pipeline.

    Returns
    -------
    Any
        The pipeline, whose steps are as they were.
    """
    vars(pipe).pop("prepare_latents", None)
    if hasattr(pipe, "scheduler"):
        release(pipe.scheduler)
    return pipe


def _logits(classifier: str | Callable[[Tensor], Tensor], pipe: Any) -> Callable[[Tensor], Tensor]:
    """The classifier as a function of images to logits. Raises InputError for one in training mode."""
    if isinstance(classifier, str):
        from dp_real.learners.models.classifier import known_classifier

        device = getattr(pipe, "_execution_device", pipe.device)
        return known_classifier(classifier, IMAGE, {}).to(device).eval().requires_grad_(False)
    if isinstance(classifier, nn.Module) and classifier.training:
        raise InputError("the classifier is in training mode, where rows may depend on each other: call .eval() first")
    return classifier


def _draws_pixels(pipe: Any) -> bool:
    """Whether it denoises images themselves, without latents."""
    unet = getattr(pipe, "unet", None)
    return not hasattr(pipe, "vae") and unet is not None and unet.config.in_channels == IMAGE[0]


def _noting(own: Callable[..., Any], unpack: Unpacker) -> Callable[..., Any]:
    """The pipeline's prepare_latents, which also tells `unpack` the size of the images to come."""

    @wraps(own)
    def prepare_latents(self: Any, *args: Any, **options: Any) -> Any:
        if not is_guided_scheduler(self.scheduler):
            raise InputError("the pipeline got another scheduler after dp_real.guide: call guide or unguide again")
        given = signature(own).bind(self, *args, **options).arguments
        if {"height", "width"} <= given.keys():  # what is made of an image has no say in its size
            unpack.note(given["height"], given["width"])
        return own(self, *args, **options)

    return prepare_latents
