import math
import numbers
from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from types import MethodType
from typing import Any

from torch import Tensor, nn

from dp_base.errors import InputError
from dp_real.generators.pipelines.latents import Unpacker, decode, frozen_decoder
from dp_real.generators.pipelines.scheduler import guide_steps, is_guided_scheduler, plain
from dp_real.guidance import EntropyGuidance, entropy, identity
from dp_real.sections import is_window

IMAGE = (3, 224, 224)  # of a classifier that does not say what it takes
NO_IMAGES = {"num_frames", "video_length", "audio_length_in_s", "audio_end_in_s"}
"""Arguments of pipelines that draw films or sounds."""


def guide(
    pipe: Any,
    classifier: str | Path | Callable[[Tensor], Tensor] | Any,
    omega: float = 0.05,
    *,
    processor: Any = None,
    every: int = 1,
    window: tuple[float, float] = (0.0, 1.0),
    decoder: Any = None,
    objective: Callable[[Tensor], Tensor] = entropy,
) -> Any:
    """Guide a text-to-image or class-conditional pipeline of diffusers, and return it. It is then called as before.

    It gets a copy of its scheduler, whose steps are guided: other pipelines with the same one are not. Its decoder's
    weights are frozen. If it is guided already, it is guided anew.

    Parameters
    ----------
    classifier
        An image classifier of transformers: a loaded one, or its folder or hub id. Or a differentiable function of
        images [batch, 3, height, width] in [-1, 1] to logits [batch, classes], whose rows do not depend on each other.
        A function is given float32, on the pipeline's device. A model may be in half precision and on any device, and
        one that is named follows the pipeline.
    omega
        The strength. A negative one makes easy images, and 0 leaves the pipeline as it is.
    processor
        The image processor of a loaded classifier, by default from where that came from.
    every, window
        Which steps are guided, as in EntropyGuidance.
    decoder
        An AutoencoderTiny that decodes x0_hat for the classifier, in less time and memory. The images come from the
        pipeline's own decoder.
    objective
        What is raised, as in EntropyGuidance; by default the classifier's uncertainty.

    Raises
    ------
    InputError
        For a pipeline, scheduler, decoder or classifier that cannot be used, and numbers out of range.
    MissingError
        Without the classifier's weights, or a package that it needs.

    Examples
    --------
        pipe = dp_real.guide(pipe, "google/vit-base-patch16-224", omega=0.05)
        images = pipe("a photo of a crane").images
        dp_real.unguide(pipe)

    Another objective, here the logit of class 7::

        pipe = dp_real.guide(pipe, classifier, objective=lambda logits: logits[:, 7])
    """
    check_steps(omega, every, window)
    if omega:
        check_pipeline(pipe)  # before a classifier is fetched
    guidance = guidance_by(classifier, omega, every, window, processor, objective)
    if guidance:
        attach(pipe, guidance, decoder)
        return pipe
    return unguide(pipe)


def check_steps(omega: float, every: int, window: tuple[float, float]) -> None:
    """Raise InputError for numbers out of range."""
    if not isinstance(omega, numbers.Real) or not math.isfinite(omega):
        raise InputError(f"omega = {omega!r}: should be a finite number")
    if every < 1 or not is_window(window):
        raise InputError(f"every = {every}, window = {window}: should be 1 or more, and (begin, end) within 0 and 1")


def guidance_by(
    classifier: Any,
    omega: float,
    every: int,
    window: tuple[float, float],
    processor: Any = None,
    objective: Callable[[Tensor], Tensor] = entropy,
) -> EntropyGuidance | None:
    """The guidance of `guide`, by checked numbers; None without a strength."""
    if not omega:
        return None

    def finite(answers: Tensor) -> Tensor:
        values = objective(answers)
        if isinstance(values, Tensor) and not values.isfinite().all():
            raise InputError("the classifier or the objective gave numbers that are not finite")
        return values

    logits = _logits(classifier, processor)
    return EntropyGuidance(logits, omega, through="x0", every=every, window=window, objective=finite)


def attach(
    pipe: Any, guidance: EntropyGuidance, decoder: Any = None, to_learner: Callable[[Tensor], Tensor] = identity
) -> Unpacker:
    """Guide a plain pipeline; `to_learner` makes of its images what guidance.logits reads. Returns its unpacker."""
    scheduler = plain(pipe.scheduler)
    unpack = Unpacker(pipe)
    vae = frozen_decoder(decoder or pipe.vae)

    def seen(x0_hat: Tensor) -> Tensor:
        if vae is not pipe.vae:  # which the pipeline moves itself
            vae.to(x0_hat.device)
        return to_learner(decode(vae, unpack(x0_hat)))

    guide_steps(scheduler, guidance, seen, unpack.forget)
    if hasattr(pipe, "prepare_latents"):
        pipe.prepare_latents = MethodType(_noting(type(pipe).prepare_latents, unpack), pipe)
    pipe.progress_bar = MethodType(_guided_still, pipe)
    pipe.scheduler = scheduler
    return unpack


def unguide(pipe: Any) -> Any:
    """End the guidance of a pipeline, if there is any, and return it, with steps as they were."""
    for hooked in ("prepare_latents", "progress_bar"):
        vars(pipe).pop(hooked, None)
    if is_guided_scheduler(getattr(pipe, "scheduler", None)):
        pipe.scheduler = plain(pipe.scheduler)
    return pipe


def check_class(kind: type) -> None:
    """Raise InputError for a class that cannot be guided."""
    name = kind.__name__
    told = signature(kind.__call__).parameters
    if not NO_IMAGES.isdisjoint(told):
        raise InputError(f"{name} draws films or sounds: only images can be shown to the classifier")
    if "mask_image" in told:
        raise InputError("inpainting cannot be guided: what lies outside the mask is put back after each step")
    if "ModularPipeline" in (base.__name__ for base in kind.__mro__):
        raise InputError(f"{name}: put a dp_real.EntropyGuidanceBlock into its blocks, before 'denoise'")


def check_pipeline(pipe: Any) -> None:
    """Raise InputError for a pipeline that cannot be guided."""
    check_class(type(pipe))
    if hasattr(pipe, "prior_prior") or not (hasattr(pipe, "scheduler") and hasattr(pipe, "vae")):
        name = type(pipe).__name__
        raise InputError(f"{name} cannot be guided: only pipelines of one stage can, with a scheduler and a vae")


def _logits(classifier: Any, processor: Any) -> Callable[[Tensor], Tensor]:
    if isinstance(classifier, str | Path):
        from dp_real.learners.models.classifier import known_classifier

        known = known_classifier(str(classifier), IMAGE, {}).eval().requires_grad_(False)
        return lambda images: known.to(images.device)(images)
    if not callable(classifier):
        raise InputError(f"classifier = {classifier!r}: should be a folder or hub id, a model, or a function of images")
    if not isinstance(classifier, nn.Module):
        return classifier
    if classifier.training:
        raise InputError("the classifier is in training mode, where rows may depend on each other: call .eval() first")
    from dp_real.learners.models.preprocess import preprocess_of

    prepare = preprocess_of(classifier, processor)

    def logits(images: Tensor) -> Tensor:
        weight = next(classifier.parameters(), images)
        dtype = weight.dtype if weight.is_floating_point() else images.dtype
        answers = classifier(prepare(images.to(weight.device)).to(dtype))
        return getattr(answers, "logits", answers).float()

    return logits


def _guided_still(pipe: Any, *args: Any, **options: Any) -> Any:
    if not is_guided_scheduler(pipe.scheduler):
        raise InputError("the pipeline got another scheduler after dp_real.guide: call guide or unguide again")
    return type(pipe).progress_bar(pipe, *args, **options)


def _noting(own: Callable[..., Any], unpack: Unpacker) -> Callable[..., Any]:
    """The pipeline's prepare_latents, which also tells `unpack` the size of images."""

    @wraps(own)
    def prepare_latents(self: Any, *args: Any, **options: Any) -> Any:
        given = signature(own).bind(self, *args, **options).arguments
        if {"height", "width"} <= given.keys():  # what is made of an image has no say in its size
            unpack.size = given["height"], given["width"]
        return own(self, *args, **options)

    return prepare_latents
