"""Latent diffusion with entropy guidance: Stable Diffusion 1, 2, XL and 3, and DiT, as diffusers' pipelines have them.

Images are [B, 3, H, W] in [-1, 1]. x_t and the guidance are float32 whatever the pipeline's own precision is. Only
safetensors are read, and there is no safety checker: it would blacken images without a word.

As a library, with any of these pipelines and any image classifier of transformers:

    logits = Classifier(vit, size=224, mean=[0.5] * 3, std=[0.5] * 3)  # dp_real.learners.models.classifier
    guidance = EntropyGuidance(logits, omega=0.05, every=5, through="x0")
    images = sample_images(pipe, ["a photo of a crane"] * 8, guidance)
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from huggingface_hub import hf_hub_download
from torch import Tensor, nn

from dp_base.errors import InputError
from dp_real.config.config import DiffusersConfig, SamplingConfig
from dp_real.generators.pipelines.adapters import (
    ADAPTERS,
    Adapter,
    Condition,
    DiT,
    adapt,
    check_supported,
    image_side,
    make_solver,
)
from dp_real.generators.pipelines.device_batches import DeviceBatches
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.sampler import Denoiser, denoising_error, identity, sample
from dp_real.imagenet.classes import TASKS, imagenet_classes
from dp_real.protocols import RealData
from dp_real.runtime import processes
from dp_real.runtime.hub import load, reading
from dp_real.runtime.pixels import fit
from dp_real.runtime.seeds import row_noise, row_seeds

CONDITIONS = 1024  # embedded prompts that are kept: those of ImageNet's classes take 0.2 GB, 2.8 GB for SD 3

View = Callable[[Tensor], Tensor]
"""Images as the learner looks at them."""


class LatentDiffusion:
    """A pipeline's parts, frozen, as a sampler of what it is asked for: prompts, or for a DiT numbers of classes.

    tiny_decoder: decodes x0_hat for the guidance; the images themselves always come from the pipeline's own VAE.
    batch_size: see DeviceBatches. offload: keep the weights off the device except while it samples.
    """

    def __init__(
        self,
        pipe: Any,
        steps: int,
        guidance_scale: float,
        tiny_decoder: Any = None,
        *,
        batch_size: int = 0,
        offload: bool = False,
    ) -> None:
        self.pipe = pipe
        self.adapter = adapt(pipe)
        self.network = self.adapter.network
        self.solver = make_solver(pipe, self.network, steps)
        self.guidance_scale = guidance_scale
        self.guidance_decoder = tiny_decoder or pipe.vae
        self.modules = [part for part in (*pipe.components.values(), tiny_decoder) if isinstance(part, nn.Module)]
        for part in self.modules:
            part.eval().requires_grad_(False)
        if pipe.vae.dtype == torch.float16 and pipe.vae.config.force_upcast:  # it would overflow
            pipe.vae.float()
        self.device = self.network.device
        self.offload = offload
        self.batches = DeviceBatches(batch_size, gpu=self.device.type == "cuda")
        self._embed = lru_cache(CONDITIONS)(partial(embed, self.adapter))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of the noise that one image starts from."""
        config = self.network.config
        return (config.in_channels, config.sample_size, config.sample_size)

    def sample(
        self, asked: Sequence[Any], noise: Tensor, guidance: EntropyGuidance | None = None, view: View = identity
    ) -> Tensor:
        """Images of B prompts (or classes) from standard normal noise [B, *latent_shape], as `view` shows them."""

        def draw(rows: slice) -> Tensor:
            x = sample(
                self.denoiser(asked[rows], self.guidance_scale),
                self.solver,
                noise[rows].to(self.device),
                guidance=guidance and guidance.rows(rows),
                decode=lambda x0_hat: view(decode(self.guidance_decoder, x0_hat)),
            )
            with torch.no_grad():
                return view(decode(self.pipe.vae, x).clamp(-1, 1))

        self._move(self.device)
        return self.batches.draw(len(asked), draw, kind=guidance and guidance.through)

    def denoising_error(self, images: Tensor, asked: Sequence[Any], noise: Tensor, level: float) -> Tensor:
        """[B], see dp_real.guidance.sampler, of images [B, C, h, w] of any size; without classifier-free guidance."""
        side = image_side(self.pipe.vae, self.network)

        def measure(rows: slice) -> Tensor:
            own = fit(images[rows].to(self.device).expand(-1, 3, -1, -1), (3, side, side))
            latents = encode(self.pipe.vae, own)
            denoiser = self.denoiser(asked[rows], guidance_scale=1)
            return denoising_error(denoiser, self.solver, latents, noise[rows].to(self.device), level)

        self._move(self.device)
        return self.batches.draw(len(asked), measure, kind="error")

    def rest(self) -> None:
        """Leave the device, if it is to be left."""
        if self.offload:
            self._move(torch.device("cpu"))
            torch.cuda.empty_cache()

    def _move(self, device: torch.device) -> None:
        for part in self.modules if self.offload else ():
            part.to(device)

    def denoiser(self, asked: Sequence[Any], guidance_scale: float) -> Denoiser:
        """What a solver steps with: the network, told what each row is asked for."""
        rows = [self._embed(what) for what in asked]
        if guidance_scale != 1:
            rows = [self._embed(None)] * len(rows) + rows
        condition = {name: torch.cat([row[name] for row in rows]).to(self.device) for name in rows[0]}

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            stacked = x.repeat(len(rows) // len(x), 1, 1, 1).to(self.network.dtype)
            output = self.adapter.predict(stacked, t, condition).to(x)
            if guidance_scale == 1:
                return output
            unconditional, conditional = output.chunk(2)
            return unconditional + guidance_scale * (conditional - unconditional)

        return denoise


@torch.no_grad()
def embed(adapter: Adapter, what: Any) -> Condition:
    """A row's condition, on the CPU; made alone, so that no neighbour rounds it."""
    return {name: value.cpu() for name, value in adapter.embed(what).items()}


def decode(vae: Any, latents: Tensor) -> Tensor:
    """Images of latents, for an AutoencoderKL as for an AutoencoderTiny, which says that it needs no scaling."""
    latents = latents / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0)
    return vae.decode(latents.to(vae.dtype), return_dict=False)[0].float()


@torch.no_grad()
def encode(vae: Any, images: Tensor) -> Tensor:
    """Latents whose decoding is nearest to the images: the mode of what the VAE answers."""
    latents = vae.encode(images.to(vae.dtype), return_dict=False)[0].mode().float()
    return (latents - (vae.config.get("shift_factor") or 0)) * vae.config.scaling_factor


class PipelineGenerator:
    """A Generator whose classes are prompts, or a DiT's; where a class has several, a row's seed picks one."""

    def __init__(self, model: LatentDiffusion, asked: Sequence[Sequence[Any]], sample_shape: tuple[int, ...]) -> None:
        """asked: for each class what to ask the pipeline for. sample_shape: [C, h, w] of what the learner sees."""
        self.model = model
        self.asked = asked
        self.sample_shape = sample_shape
        self.n_classes = len(asked)

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """See Generator."""
        noise = row_noise(seeds, self.model.latent_shape)
        view = partial(fit, shape=self.sample_shape)
        return self.model.sample(self._pick(labels, seeds), noise, guidance, view).cpu()

    def denoising_error(self, x: Tensor, labels: Tensor, seeds: np.ndarray, level: float) -> Tensor:
        """See Generator; x is encoded by the VAE first, at the pipeline's own size."""
        noise = row_noise(~seeds, self.model.latent_shape)
        return self.model.denoising_error(x, self._pick(labels, seeds), noise, level).cpu()

    def rest(self) -> None:
        """See Generator."""
        self.model.rest()

    def _pick(self, labels: Tensor, seeds: np.ndarray) -> list[Any]:
        choices = [self.asked[label] for label in labels.tolist()]
        return [several[seed % len(several)] for several, seed in zip(choices, seeds.tolist(), strict=True)]


def class_prompts(templates: Sequence[str], classes: Sequence[str]) -> list[list[str]]:
    """One list a class: its name in each template's place for it, {}."""
    return [[template.replace("{}", name) for template in templates] for name in classes]


def class_numbers(id2label: Mapping[str, str], classes: Sequence[str]) -> list[list[int]]:
    """One list a class: its number in a class-conditional pipeline.

    An ImageNet task's classes have ImageNet's numbers (folders sorted). Others are looked up in the pipeline's own
    id2label, whose values are names with commas between: by one name, all of them, or the number. Raises InputError.
    """
    for task in TASKS:
        entries = imagenet_classes(task)
        if tuple(classes) == tuple(entry.name for entry in entries):
            return [[entry.index] for entry in entries]
    numbers: dict[str, set[int]] = {}
    for number, names in id2label.items():
        for name in (number, names, *names.split(",")):
            numbers.setdefault(name.strip(), set()).add(int(number))
    for name in classes:
        if len(numbers.get(name, ())) != 1:
            found = " and ".join(map(str, sorted(numbers.get(name, ())))) or "none"
            raise InputError(f"class {name!r}: {found} of the pipeline's classes (id2label in its model_index.json)")
    return [list(numbers[name]) for name in classes]


def load_diffusers(config: DiffusersConfig, sampling: SamplingConfig, data: RealData) -> PipelineGenerator:
    """The generator of this configuration, on the GPU if there is one.

    Raises MissingError if weights are missing, InputError for a pipeline or classes that it cannot use.
    """
    index = load_index(config.model)
    if ADAPTERS[index["_class_name"]] is DiT:
        asked = class_numbers(index.get("id2label", {}), data.classes)
    else:
        asked = class_prompts(config.prompts, data.classes)
    pipe = load_pipeline(config.model, config.dtype)
    tiny = load_tiny_decoder(config.guidance_decoder, config.dtype) if config.guidance_decoder else None
    options = {"batch_size": config.batch_size, "offload": config.offload}
    model = LatentDiffusion(pipe, sampling.steps, sampling.guidance_scale, tiny, **options)
    for part in (model.network, pipe.vae, tiny):
        if part is not None and config.checkpointing:
            part.enable_gradient_checkpointing()
    for part in (pipe.vae, tiny):
        if part is not None and config.slicing:
            part.enable_slicing()
    if config.compile:
        model.network.compile()
    model.rest()
    return PipelineGenerator(model, asked, data.sample_shape)


def load_index(model: str) -> dict[str, Any]:
    """A pipeline's model_index.json. Raises InputError unless it is of a kind that can be used."""
    with reading(model, "a diffusers pipeline") as local:
        path = Path(model, "model_index.json") if local else hf_hub_download(model, "model_index.json")
        index = json.loads(Path(path).read_text(encoding="utf-8"))
    check_supported(str(index.get("_class_name")), where=f"{model}: ")
    return index


def load_pipeline(model: str, dtype: str = "float32") -> Any:
    """A pipeline of one of ADAPTERS' kinds, without its safety checker; see `load`."""
    index = load_index(model)
    options: dict[str, Any] = {name: None for name, part in index.items() if part == [None, None]}  # saved without it
    if index["_class_name"] == "StableDiffusionPipeline":
        options |= {"safety_checker": None, "requires_safety_checker": False}
        if any(index.get("safety_checker") or ()) and processes.state().is_main_process:
            logging.getLogger(__name__).warning("%s: its safety checker is off; it would blacken images", model)
    return load(getattr(diffusers, index["_class_name"]), model, dtype, **options)


def load_tiny_decoder(model: str, dtype: str = "float32") -> Any:
    """An AutoencoderTiny; see `load`."""
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny  # imported when used: it takes a second

    return load(AutoencoderTiny, model, dtype)


def sample_images(
    pipe: Any,
    prompts: Sequence[str | int],
    guidance: EntropyGuidance | None = None,
    *,
    steps: int = 50,
    guidance_scale: float = 7.5,
    seed: int = 0,
) -> Tensor:
    """An image a prompt from a pipeline, which is frozen; guidance.logits reads such images. For a DiT, class numbers.

    The i-th image's noise is a function of `seed` and i alone.
    """
    model = LatentDiffusion(pipe, steps, guidance_scale)
    return model.sample(prompts, row_noise(row_seeds(seed, 0, range(len(prompts))), model.latent_shape), guidance)
