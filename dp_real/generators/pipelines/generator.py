"""Pipelines of diffusers as generators: a loop here for Stable Diffusion 1, 2 and XL and DiT, calls of the others.

Images are [batch, 3, height, width] in [-1, 1]; x_t and the guidance are float32 in any pipeline.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from inspect import Parameter, signature
from numbers import Integral
from typing import Any, Self

import torch
from diffusers import DDIMScheduler, PNDMScheduler
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from dp_base.errors import InputError, warn_once
from dp_real.data.sets.imagenet import imagenet_classes, imagenet_of
from dp_real.guidance.entropy import EntropyGuidance, sample
from dp_real.guidance.guide import check_pipeline, guided, unguide
from dp_real.guidance.latents import Images, decode, image_scale
from dp_real.guidance.scheduler import check_scheduler
from dp_real.protocols import Labels, Seeds
from dp_real.runtime.computing import default_modes, require_finite, uncounted
from dp_real.runtime.distributed import DeviceBatches
from dp_real.runtime.hub import quietly
from dp_real.runtime.pixels import fit
from dp_real.runtime.seeds import row_noise, row_seeds

AT_ONCE = 100  # images that sample_images draws together at most
REMEDY = "generator.checkpointing, generator.tiny_decoder, guidance.through = 'x0' or dtype = 'bfloat16' take less"
CONDITIONS = 1024  # embedded prompts in the cache; those of ImageNet's 1,000 classes take 0.2 GB
DIT = "DiTPipeline"
DDIM_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", DIT)
"""The pipelines that DDIMPipelineGenerator draws with; guidance may be differentiated through their denoiser."""
PLAIN = {"use_resolution_binning": False, "clean_caption": False, "intermediate_timesteps": None}
"""Arguments of calls that take them, so that sizes, prompts and steps stay as given."""


def pipeline_generator(pipe: Any, *args: Any, **options: Any) -> "PipelineGenerator":
    """DDIMPipelineGenerator for the pipelines that it knows, else CalledPipelineGenerator."""
    kind = DDIMPipelineGenerator if type(pipe).__name__ in DDIM_PIPELINES else CalledPipelineGenerator
    return kind(pipe, *args, **options)


def guidance_argument(pipe: Any) -> Parameter | None:
    """The argument of a pipeline's call that is the scale of classifier-free guidance, if it has one."""
    own = signature(type(pipe).__call__).parameters
    if own.keys().isdisjoint({"negative_prompt_embeds", "class_labels"}):
        return None
    return own.get("true_cfg_scale") or own.get("guidance_scale")


@dataclass(eq=False, repr=False)
class PipelineGenerator(ABC):
    """A pipeline with frozen parts, whose classes are prompts, or class numbers of a DiT.

    A row's seed selects one of its class's `conditions`. Images have the learner's `sample_shape`; None: as drawn.
    `tiny_decoder` decodes x0_hat for the guidance only. `size` is (height, width).
    """

    pipe: Any
    conditions: Sequence[Sequence[Any]]
    sample_shape: Any
    steps: int
    guidance_scale: float
    _: KW_ONLY
    tiny_decoder: Any = None
    size: tuple[int, int] | None = None
    batch_size: int = 0

    @default_modes()
    def __post_init__(self) -> None:
        pipe = self.pipe
        self.kind, self.n_classes = type(pipe).__name__, len(self.conditions)
        self.guidance_decoder = pipe.vae if self.tiny_decoder is None else self.tiny_decoder
        self.network: Any = pipe.transformer if hasattr(pipe, "transformer") else pipe.unet
        self._check_size()
        for part in (*pipe.components.values(), self.tiny_decoder):
            if isinstance(part, nn.Module):  # convolutions are faster in this memory format
                convert_conv2d_weight_memory_format(part.eval().requires_grad_(False), torch.channels_last)
        if pipe.vae.dtype == torch.float16 and pipe.vae.config.get("force_upcast"):  # float16 would overflow
            pipe.vae.float()
        self.device = self.network.device
        self.batches = DeviceBatches(self.batch_size, REMEDY)

    def _check_size(self) -> None:
        config = self.network.config
        patch = 2 if hasattr(self.pipe, "_pack_latents") else config.get("patch_size", 1)
        token_side = patch * image_scale(self.pipe.vae)
        limit = (config.get("pos_embed_max_size") or 0) * token_side
        if self.size and any(side % token_side or (limit and side > limit) for side in self.size):
            raise InputError(
                f"{self.kind} cannot draw {self.size[0]} x {self.size[1]} pixels: sides must be multiples of "
                f"{token_side}{f', at most {limit}' if limit else ''}"
            )

    def compile(self) -> None:
        """Compile for all batch sizes at once, since batches are halved if memory runs out."""
        for part in {self.network, self.pipe.vae.decoder, self.guidance_decoder.decoder}:
            part.compile(dynamic=True)

    @default_modes()
    def sample(
        self,
        labels: Labels,
        seeds: Seeds,
        guidance: EntropyGuidance | None,
    ) -> Float[Tensor, "batch channels height width"]:
        choices = [self.conditions[label] for label in labels.tolist()]
        conditions = [several[seed % len(several)] for several, seed in zip(choices, seeds.tolist(), strict=True)]

        def draw(rows: slice) -> Tensor:
            return self.to_learner(self.draw(conditions[rows], seeds[rows], guidance and guidance.for_rows(rows)))

        with quietly():  # a warning for each prompt that is cut, of which check_prompts warned once
            return self.batches.draw(len(conditions), draw, kind=guidance and guidance.through).cpu()

    @abstractmethod
    def draw(self, conditions: list[Any], seeds: Seeds, guidance: EntropyGuidance | None) -> Images:
        """Draw a device batch without gradients; each row is a function of its seed."""

    def to_learner(self, images: Images) -> Tensor:
        return images if self.sample_shape is None else fit(images, self.sample_shape)

    def resized(self, sample_shape: tuple[int, ...]) -> Self:
        """A copy for samples of another shape, which shares the pipeline."""
        other = copy(self)
        other.sample_shape = sample_shape
        return other


class DDIMPipelineGenerator(PipelineGenerator):
    """DDIM with the pipeline's noise schedule."""

    def __post_init__(self) -> None:
        super().__post_init__()
        own = self.pipe.scheduler.config
        if "beta_start" not in own or own.get("prediction_type") not in ("epsilon", "v_prediction", "sample"):
            raise InputError(
                f"scheduler {type(self.pipe.scheduler).__name__}, prediction_type {own.get('prediction_type')!r}: no "
                "diffusion with betas that predicts epsilon, v_prediction or sample"
            )
        if not isinstance(self.pipe.scheduler, DDIMScheduler | PNDMScheduler):
            warn_once(f"{self.kind} is drawn by DDIM, not by its {type(self.pipe.scheduler).__name__}")
        # By default DDIM clips x0_hat to [-1, 1]. Latents exceed that, but a pipeline's config need not say so.
        scheduler: Any = DDIMScheduler.from_config(own, clip_sample=False, thresholding=False)
        scheduler.set_timesteps(self.steps)
        self.scheduler = scheduler
        config = self.network.config
        scale = image_scale(self.pipe.vae)
        self.image_size = height, width = self.size or 2 * (config.sample_size * scale,)
        self.latent_shape = config.in_channels, height // scale, width // scale
        self._embed = lru_cache(CONDITIONS)(self._embedded)

    def draw(self, conditions: list[Any], seeds: Seeds, guidance: EntropyGuidance | None) -> Images:
        with uncounted():
            rows = [self._embed(condition) for condition in conditions]
            if self.guidance_scale > 1:
                rows = [self._embed(None)] * len(rows) + rows
        condition = {name: torch.cat([row[name] for row in rows]).to(self.device) for name in rows[0]}
        text = condition.pop("encoder_hidden_states", None)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            stacked = x.repeat(len(rows) // len(x), 1, 1, 1).to(self.network.dtype)
            if self.kind == DIT:
                output = self.network(stacked, timestep=t.expand(len(stacked)), **condition, return_dict=False)[0]
                output = output[:, : x.shape[1]]  # the others are a learned variance, which DDIM does not use
            else:
                output = self.network(stacked, t, text, added_cond_kwargs=condition, return_dict=False)[0]
            if self.guidance_scale <= 1:
                return output.to(x)
            unconditional, conditional = output.to(x).chunk(2)
            return unconditional + self.guidance_scale * (conditional - unconditional)

        x = sample(
            denoise,
            self.scheduler,
            row_noise(seeds, self.latent_shape).to(self.device),
            guidance=guidance,
            decode=lambda x0_hat: self.to_learner(decode(self.guidance_decoder, x0_hat)),
        )
        return decode(self.pipe.vae, x).clamp(-1, 1)

    def _embedded(self, condition: Any) -> dict[str, Tensor]:
        """The condition of one row, computed alone, so that others do not change its rounding. None: no class."""
        if self.kind == DIT:
            classes = self.network.config.num_embeds_ada_norm
            if condition is not None and condition >= classes:
                raise InputError(f"class number {condition}: this DiT has {classes} classes, from 0")
            return {"class_labels": torch.tensor([classes if condition is None else condition])}
        if self.kind == "StableDiffusionPipeline":
            return {"encoder_hidden_states": self.pipe.encode_prompt(condition or "", self.device, 1, False)[0].cpu()}
        texts = self.pipe.encode_prompt(
            condition or "", device=self.device, do_classifier_free_guidance=condition is None
        )
        # By the pipeline's config, no text is encoded as zeros or as "".
        text, pooled = texts[1::2] if condition is None else texts[::2]
        crop_corner = (0, 0)
        sizes = torch.tensor([[*self.image_size, *crop_corner, *self.image_size]])  # original and target
        added = {"text_embeds": pooled.cpu(), "time_ids": sizes.to(text.dtype)}
        return added | {"encoder_hidden_states": text.cpu()}


class CalledPipelineGenerator(PipelineGenerator):
    """A pipeline that draws by its own call, guided as by dp_real.guide. Distilled guidance keeps its default scale."""

    def __post_init__(self) -> None:
        self.pipe = unguide(copy(self.pipe))
        check_pipeline(self.pipe)
        check_scheduler(self.pipe.scheduler)
        super().__post_init__()
        self.pipe.set_progress_bar_config(disable=True)
        self.parameters = signature(type(self.pipe).__call__).parameters
        self.scale = guidance_argument(self.pipe)
        if self.guidance_scale > 1 and self.scale is None:
            raise InputError(f"{self.kind} has no classifier-free guidance: leave sampling.guidance_scale at 1")

    def draw(self, conditions: list[Any], seeds: Seeds, guidance: EntropyGuidance | None) -> Images:
        arguments: dict[str, Any] = {key: value for key, value in PLAIN.items() if key in self.parameters}
        if self.scale is not None:
            arguments[self.scale.name] = self.guidance_scale
        if "true_cfg_scale" in arguments:
            arguments["negative_prompt"] = [" "] * len(conditions) if self.guidance_scale > 1 else None
        if self.size:
            arguments |= {"height": self.size[0], "width": self.size[1]}
        generators = [torch.Generator().manual_seed(int(seed) >> 1) for seed in seeds]  # torch takes signed seeds
        with guided(self.pipe, guidance, self.guidance_decoder, self.to_learner) if guidance else nullcontext():
            drawn = self.pipe(
                prompt=conditions, num_inference_steps=self.steps, generator=generators, output_type="pt", **arguments
            )
        return 2 * drawn.images.float() - 1


def class_numbers(id2label: Mapping[str, str], classes: Sequence[str]) -> list[list[int]]:
    """The pipeline's class numbers: ImageNet's, else by names or numbers in id2label."""
    task = imagenet_of(classes)
    if task:
        return [[entry.index] for entry in imagenet_classes(task)]
    numbers = defaultdict[str, set[int]](set)
    for number, names in id2label.items():
        for name in (number, names, *names.split(",")):
            numbers[name.strip()].add(int(number))
    candidates = [sorted(numbers[name]) for name in classes]
    for name, matches in zip(classes, candidates, strict=True):
        if len(matches) != 1:
            listed = " and ".join(map(str, matches)) or "none"
            raise InputError(f"class {name!r}: {listed} of the pipeline's classes (id2label in its model_index.json)")
    return candidates


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
        Stable Diffusion 1, 2 and XL and DiT of diffusers draw by DDIM. Others are called as they are, with guidance of
        through = "x0" and scale = "relative".
    prompts
        Prompts, or class numbers of a DiT.
    guidance
        Its `logits` take images in the form that is returned. None: plain images.
    guidance_scale
        1 or less: no classifier-free guidance.
    seed
        The noise of image i is a function of `seed` and i alone.
    size
        Height and width in pixels; None: the pipeline's usual size.

    Returns
    -------
    Float[Tensor, "batch 3 height width"]
        The images, in [-1, 1], on the CPU.

    Raises
    ------
    InputError
        If the pipeline cannot be guided, or not in this way, or an argument is out of range.
    MissingError
        If not even one image fits into the GPU.
    DivergedError
        If an image is not finite.

    Examples
    --------
    With any image classifier of transformers:

        logits = wrapped_classifier(vit, (3, 512, 512))  # dp_real.learners.models.classifier
        guidance = EntropyGuidance(logits, omega=0.05, every=5, through="x0")
        images = sample_images(pipe, ["a photo of a crane"] * 8, guidance)
    """
    if isinstance(prompts, str) or not len(prompts):
        raise InputError(f"prompts = {prompts!r}: should be a list of at least one")
    for name, value, least in (("steps", steps, 1), ("seed", seed, 0)):
        if not isinstance(value, Integral) or value < least:
            raise InputError(f"{name} = {value!r}: should be a whole number, at least {least}")
    if guidance and not isinstance(guidance, EntropyGuidance):
        raise InputError(f"guidance of type {type(guidance).__name__}: should be an EntropyGuidance")
    conditions = [[prompt] for prompt in prompts]
    generator = pipeline_generator(pipe, conditions, None, steps, guidance_scale, size=size, batch_size=AT_ONCE)
    rows = range(len(prompts))
    images = generator.sample(torch.tensor(rows), row_seeds(seed, 0, rows), guidance)
    require_finite("the images", "lower omega or guidance_scale, or load the pipeline in float32", [images])
    return images
