"""Latent diffusion with entropy guidance, for any pipeline of diffusers that has an adapter.

Images are [B, 3, H, W] in [-1, 1]. x_t and the guidance are float32 whatever the pipeline's own precision is.

As a library, with any of these pipelines and any image classifier of transformers:

    logits = Classifier(vit, size=224, mean=[0.5] * 3, std=[0.5] * 3)  # dp_real.learners.models.classifier
    guidance = EntropyGuidance(logits, omega=0.05, every=5, through="x0")
    images = sample_images(pipe, ["a photo of a crane"] * 8, guidance)
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from dp_real.generators.pipelines.adapters import Adapter, Condition, adapt, image_side, make_solver
from dp_real.generators.pipelines.device_batches import DeviceBatches
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.sampler import Denoiser, denoising_error, identity, sample
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
