from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache, wraps
from inspect import signature
from pathlib import Path
from types import MethodType
from typing import Any

from torch import Tensor, nn

from dp_base.errors import InputError
from dp_real.guidance.entropy import EntropyGuidance, Logits, Objective, entropy, identity, logits_of
from dp_real.guidance.latents import Unpacker, check_decoder, decode, decoding
from dp_real.guidance.scheduler import GuidanceState, check_scheduler, end_guidance, guide_steps
from dp_real.runtime.computing import default_modes

NO_IMAGES = "video", "frames", "audio"
"""In the names of arguments of pipelines that generate them."""


def guide(
    pipe: Any,
    classifier: str | Path | Logits | Any,
    omega: float = 0.05,
    *,
    processor: Any = None,
    every: int | None = None,
    window: tuple[float, float] = (0.0, 1.0),
    decoder: Any = None,
    objective: Objective = entropy,
) -> Any:
    """Guide a text-to-image or class-conditional pipeline of diffusers, and return it. It is then called as before.

    Its scheduler's steps are guided during its calls; other pipelines with the same parts are not. Its decoder's
    weights are frozen. If it is guided already, the new guidance replaces the old.

    Parameters
    ----------
    classifier
        An image classifier of transformers, loaded or as its folder or hub id. Or a differentiable function of images
        [batch, 3, height, width] in [-1, 1] to logits [batch, classes], whose rows do not depend on each other. A
        function gets float32 on the pipeline's device. A loaded model may be in half precision and on any device; one
        given by name moves to the pipeline's.
    omega
        The strength. A negative one makes easy images, and 0 leaves the pipeline as it is.
    processor
        The classifier's image processor, or torchvision's weights.transforms(); by default the one saved with it.
    every, window
        Which steps are guided, as in EntropyGuidance. By default six to eight of twelve steps or more are, and all
        but the last of fewer (the authors' earlier code: six of 30). omega times their number is what counts.
    decoder
        An AutoencoderTiny that decodes x0_hat for the classifier, in less time and memory. The images come from the
        pipeline's decoder.
    objective
        What is raised, as in EntropyGuidance; by default the classifier's entropy.

    Raises
    ------
    InputError
        If the pipeline, scheduler, decoder or classifier cannot be used, or a number is out of range.
    MissingError
        If the classifier's weights, or a package that it needs, are missing.

    Examples
    --------
        pipe = dp_real.guide(pipe, "google/vit-base-patch16-224", omega=0.05)
        images = pipe("a photo of a crane").images
        dp_real.unguide(pipe)

    Another objective, here the logit of class 7::

        pipe = dp_real.guide(pipe, classifier, objective=lambda logits: logits[:, 7])
    """
    # checked before a classifier is fetched
    guidance = EntropyGuidance(identity, omega, through="x0", every=every, window=window, objective=objective)
    if omega == 0:
        return unguide(pipe)
    check_pipeline(pipe)
    check_scheduler(pipe.scheduler)
    check_decoder(pipe.vae if decoder is None else decoder)
    guidance = replace(guidance, logits=classifier_logits(classifier, processor))
    unguide(pipe)
    pipe.guided_by = guidance, decoder
    pipe.__class__ = _guided_class(type(pipe))
    return pipe


def unguide(pipe: Any) -> Any:
    """End the guidance of a pipeline, if there is any, and return it."""
    if isinstance(pipe, GuidedPipeline):
        pipe.__class__ = type(pipe).__mro__[2]
        vars(pipe).pop("guided_by", None)
    return pipe


class GuidedPipeline:
    """The mixin whose subclass replaces a pipeline's class to guide its calls."""

    guided_by: tuple[EntropyGuidance, Any] | None = None

    def __reduce__(self) -> Any:
        return _remade, (type(self).__mro__[2],), vars(self)


@cache
def _guided_class(own: Any) -> type:
    @wraps(own.__call__)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        with guided(self, *self.guided_by) if self.guided_by else nullcontext():
            return own.__call__(self, *args, **options)

    return type(own.__name__, (GuidedPipeline, own), {"__module__": own.__module__, "__call__": call})


def _remade(own: type) -> Any:
    """A guided pipeline for unpickling."""
    return object.__new__(_guided_class(own))


@contextmanager
def guided(
    pipe: Any, guidance: EntropyGuidance, decoder: Any = None, to_learner: Callable[[Tensor], Tensor] = identity
) -> Iterator[None]:
    """Guide a pipeline within the block; `to_learner` converts its images for guidance.logits."""
    scheduler = pipe.scheduler
    guiding, _ = attach(pipe, guidance, decoder, to_learner)
    try:
        yield
    finally:
        detach(pipe, scheduler)
    guiding.warn_if_unguided()


def attach(
    pipe: Any, guidance: EntropyGuidance, decoder: Any = None, to_learner: Callable[[Tensor], Tensor] = identity
) -> tuple[GuidanceState, Unpacker]:
    """Guide an unguided pipeline's steps until `detach`."""
    unpack = Unpacker(pipe)
    vae = pipe.vae if decoder is None else decoder
    check_decoder(vae)
    vae.eval().requires_grad_(False)

    def gradient(x0_hat: Tensor) -> Tensor:
        if vae is not pipe.vae:  # the pipeline moves its own decoder
            vae.to(x0_hat.device)
        with default_modes(gradients=True), decoding(vae):
            leaf = x0_hat.float().clone().requires_grad_()
            grad = guidance.gradient(to_learner(decode(vae, unpack(leaf))) if guidance.reads_estimate else leaf, leaf)
        if not grad.isfinite().all():
            raise InputError("the classifier or the objective gave numbers that are not finite")
        return grad

    guiding = GuidanceState(guidance, gradient)
    guide_steps(pipe.scheduler, guiding)
    if hasattr(pipe, "prepare_latents"):
        pipe.prepare_latents = MethodType(_noting(type(pipe).prepare_latents, unpack), pipe)
    return guiding, unpack


def detach(pipe: Any, scheduler: Any) -> None:
    """Undo `attach`."""
    end_guidance(scheduler)
    vars(pipe).pop("prepare_latents", None)


def check_class(kind: type, pipe: Any = None) -> None:
    """Raise InputError for a class that cannot be guided."""
    name = kind.__name__
    parameters = signature(kind.__call__).parameters
    if any(word in parameter for parameter in parameters for word in NO_IMAGES):
        raise InputError(f"{name} generates video or audio: the classifier takes only images")
    takes_mask = (
        name == "FluxFillPipeline" or getattr(getattr(pipe, "unet", None), "config", {}).get("in_channels") == 9
    )
    if "mask_image" in parameters and not (pipe and takes_mask):
        raise InputError(
            f"{name} cannot be guided: pixels outside the mask are restored after each step; FluxFillPipeline and a "
            "UNet of nine channels, which see the mask, can"
        )
    if "ModularPipeline" in (base.__name__ for base in kind.__mro__):
        raise InputError(f"{name}: put a dp_real.EntropyGuidanceBlock into its blocks, before 'denoise'")


def check_pipeline(pipe: Any) -> None:
    """Raise InputError for a pipeline that cannot be guided."""
    name = type(pipe).__name__
    if isinstance(pipe, str | Path):
        raise InputError(f"{pipe}: load the pipeline first, by from_pretrained")
    check_class(type(pipe), pipe)
    for part in ("scheduler", "vae"):
        if getattr(pipe, part, None) is None:
            raise InputError(f"{name} cannot be guided: it has no {part}")
    Unpacker(pipe)


def classifier_logits(classifier: Any, processor: Any = None) -> Logits:
    """The function of images [batch, 3, height, width] in [-1, 1] to logits of what `guide` takes as a classifier."""
    is_named = isinstance(classifier, str | Path)
    if is_named:
        from transformers import AutoModelForImageClassification

        from dp_real.runtime.hub import load

        classifier = load(AutoModelForImageClassification, str(classifier)).eval().requires_grad_(False)
    if not callable(classifier):
        raise InputError(f"classifier = {classifier!r}: should be a folder or hub id, a model, or a function of images")
    if isinstance(classifier, nn.Module):
        from dp_real.learners.models.preprocess import preprocess_of

        return PreprocessedClassifier(classifier, preprocess_of(classifier, processor), follows=is_named)
    if processor is not None:
        raise InputError("processor= is for models: a function of images should prepare them itself")
    return classifier


class PreprocessedClassifier(nn.Module):
    """A classifier's logits of images in [-1, 1], on its own device or, if it `follows`, on theirs."""

    def __init__(self, classifier: nn.Module, prepare: nn.Module, follows: bool = False) -> None:
        super().__init__()
        self.classifier, self.prepare, self.follows = classifier, prepare, follows

    def forward(self, images: Tensor) -> Tensor:
        if self.follows:
            self.to(images.device)
        weight = next(self.classifier.parameters(), images)
        dtype = weight.dtype if weight.is_floating_point() else images.dtype
        return logits_of(self.classifier(self.prepare(images.to(weight.device)).to(dtype))).float()


def _noting(own: Callable[..., Any], unpack: Unpacker) -> Callable[..., Any]:
    """The pipeline's prepare_latents, which also gives `unpack` the size of the images."""

    @wraps(own)
    def prepare_latents(self: Any, *args: Any, **options: Any) -> Any:
        arguments = signature(own).bind(self, *args, **options).arguments
        if {"height", "width"} <= arguments.keys():  # latents of a given image are prepared without a size
            unpack.size = arguments["height"], arguments["width"]
        return own(self, *args, **options)

    return prepare_latents
