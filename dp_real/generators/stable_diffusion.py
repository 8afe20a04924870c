"""Stable Diffusion under DDIM with entropy guidance: any folder or hub id that StableDiffusionPipeline reads.

Images are [B, 3, H, W] in [-1, 1]. x_t and the guidance are float32 whatever the pipeline's own precision is. Only
safetensors are read, and there is no safety checker: it would blacken images without a word.

As a library, with any Stable Diffusion pipeline and any image classifier of transformers:

    logits = Classifier(vit, size=224, mean=[0.5] * 3, std=[0.5] * 3)  # dp_real.classifier
    guidance = EntropyGuidance(logits, omega=0.05, every=5, through="x0")
    images = sample_images(pipe, ["a photo of a crane"] * 8, guidance)
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor
from torch.nn import functional as F

from dp_real.config import SamplingConfig, StableDiffusionConfig
from dp_real.errors import MissingError
from dp_real.guidance import EntropyGuidance
from dp_real.protocols import RealData
from dp_real.sampling import identity, sample_ddim
from dp_real.seeds import row_noise, row_seeds


class TextToImage:
    """A pipeline's parts, frozen, under DDIM with classifier-free and entropy guidance.

    tiny_decoder: decodes x0_hat for the guidance; the images themselves always come from the pipeline's own VAE.
    """

    def __init__(self, pipe: Any, steps: int, guidance_scale: float, tiny_decoder: Any = None) -> None:
        self.pipe = pipe
        self.guidance_scale = guidance_scale
        self.tiny_decoder = tiny_decoder
        for part in (pipe.unet, pipe.vae, pipe.text_encoder, tiny_decoder):
            if part is not None:
                part.eval().requires_grad_(False)
        # Unless told otherwise DDIM clips x0_hat to [-1, 1]; latents are wider, and a config need not say so.
        self.scheduler: Any = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
        self.scheduler.set_timesteps(steps)
        self._embeddings: dict[str, Tensor] = {}

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of the noise that one image starts from."""
        unet = self.pipe.unet.config
        return (unet.in_channels, unet.sample_size, unet.sample_size)

    def sample(
        self,
        prompts: Sequence[str],
        noise: Tensor,
        guidance: EntropyGuidance | None = None,
        view: Callable[[Tensor], Tensor] = identity,
    ) -> Tensor:
        """Images of B prompts from standard normal noise [B, *latent_shape], as `view` shows them to the learner."""
        text = torch.cat([self.embed(prompt) for prompt in prompts])
        if self.guidance_scale != 1:
            text = torch.cat([self.embed("").expand_as(text), text])

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            stacked = x.repeat(len(text) // len(x), 1, 1, 1).to(text)
            output = self.pipe.unet(stacked, t, text, return_dict=False)[0].to(x)
            if len(output) == len(x):
                return output
            unconditional, conditional = output.chunk(2)
            return unconditional + self.guidance_scale * (conditional - unconditional)

        x = noise.to(text.device) * self.scheduler.init_noise_sigma
        decoder = self.tiny_decoder or self.pipe.vae
        x = sample_ddim(denoise, self.scheduler, x, guidance=guidance, decode=lambda x0: view(decode(decoder, x0)))
        with torch.no_grad():
            return view(decode(self.pipe.vae, x).clamp(-1, 1))

    @torch.no_grad()
    def embed(self, prompt: str) -> Tensor:
        """The text encoder's states [1, tokens, width]; once a prompt, and alone, so that no neighbour rounds it."""
        if prompt not in self._embeddings:
            self._embeddings[prompt] = self.pipe.encode_prompt(prompt, self.pipe.unet.device, 1, False)[0]
        return self._embeddings[prompt]


def decode(vae: Any, latents: Tensor) -> Tensor:
    """Images of latents, for an AutoencoderKL as for an AutoencoderTiny (whose scaling_factor is 1)."""
    (images,) = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)
    return images.float()


def fit(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Images as a learner takes them, [B, *shape]: grey if it takes one channel, resized to its height and width."""
    channels, *size = shape
    if channels == 1:
        images = images.mean(1, keepdim=True)
    if list(images.shape[2:]) != size:
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    return images


class StableDiffusionGenerator:
    """A Generator whose classes are prompts; where a class has several, a row's seed picks one."""

    def __init__(self, model: TextToImage, prompts: Sequence[Sequence[str]], sample_shape: tuple[int, ...]) -> None:
        self.model = model
        self.prompts = prompts
        self.sample_shape = sample_shape
        self.n_classes = len(prompts)

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """See Generator."""
        prompts = [self._prompt(label, seed) for label, seed in zip(labels.tolist(), seeds.tolist(), strict=True)]
        noise = row_noise(seeds, self.model.latent_shape)
        return self.model.sample(prompts, noise, guidance, lambda images: fit(images, self.sample_shape)).cpu()

    def _prompt(self, label: int, seed: int) -> str:
        choices = self.prompts[label]
        return choices[seed % len(choices)]


def class_prompts(templates: Sequence[str], classes: Sequence[str]) -> list[list[str]]:
    """One list a class: its name in each template's place for it, {}."""
    return [[template.replace("{}", name) for template in templates] for name in classes]


def load_stable_diffusion(
    config: StableDiffusionConfig, sampling: SamplingConfig, data: RealData
) -> StableDiffusionGenerator:
    """The generator of this configuration, on the GPU if there is one. Raises MissingError if weights are missing."""
    pipe = load_pipeline(config.model, config.dtype)
    tiny = load_tiny_decoder(config.tiny_decoder, config.dtype) if config.tiny_decoder else None
    return make_generator(pipe, sampling, class_prompts(config.prompts, data.classes), data, tiny)


def make_generator(
    pipe: Any,
    sampling: SamplingConfig,
    prompts: Sequence[Sequence[str]],
    data: RealData,
    tiny_decoder: Any = None,
) -> StableDiffusionGenerator:
    """A generator of images that look to the learner as the real ones do."""
    model = TextToImage(pipe, sampling.steps, sampling.guidance_scale, tiny_decoder)
    return StableDiffusionGenerator(model, prompts, data.sample_shape)


def load_pipeline(model: str, dtype: str = "float32") -> Any:
    """A StableDiffusionPipeline without its safety checker; see `load`."""
    # imported when used: it takes seconds
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    return load(StableDiffusionPipeline, model, dtype, safety_checker=None, requires_safety_checker=False)


def load_tiny_decoder(model: str, dtype: str = "float32") -> Any:
    """An AutoencoderTiny; see `load`."""
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    return load(AutoencoderTiny, model, dtype)


def load(kind: Any, model: str, dtype: str = "float32", **options: Any) -> Any:
    """`kind.from_pretrained`, safetensors only; a folder is only read, an id may be fetched, as the user named it."""
    local = Path(model).is_dir()
    if not local and (Path(model).is_absolute() or model.startswith(("./", "../", "~")) or model.count("/") != 1):
        raise MissingError(f"{model}: no such folder; put a {kind.__name__} there, or name a hub id")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        loaded = kind.from_pretrained(
            model, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=local, **options
        )
    except OSError as error:
        remedy = (
            "the folder must hold what save_pretrained writes, with safetensors"
            if local
            else f"fetch it where there is a network (hf download {model}), or name a folder that holds it"
        )
        raise MissingError(f"{model}: no {kind.__name__} could be read: {remedy}") from error
    return loaded.to(device)


def sample_images(
    pipe: Any,
    prompts: Sequence[str],
    guidance: EntropyGuidance | None = None,
    *,
    steps: int = 50,
    guidance_scale: float = 7.5,
    seed: int = 0,
) -> Tensor:
    """An image a prompt from a StableDiffusionPipeline, which is frozen; guidance.logits reads such images.

    The i-th image's noise is a function of `seed` and i alone.
    """
    model = TextToImage(pipe, steps, guidance_scale)
    return model.sample(prompts, row_noise(row_seeds(seed, 0, range(len(prompts))), model.latent_shape), guidance)
