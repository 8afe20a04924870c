"""Latent diffusion with entropy guidance, for any pipeline of diffusers that has an adapter.

Images are [batch, 3, height, width] in [-1, 1]. x_t and the guidance are float32, also for a pipeline of lower
precision.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from dp_base.errors import InputError
from dp_real.generators.pipelines.adapters import Adapter, Condition, adapt, make_solver
from dp_real.generators.pipelines.device_batches import DeviceBatches
from dp_real.generators.pipelines.latents import decode, encode, image_side
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.sampler import Denoiser, identity, sample
from dp_real.runtime.pixels import fit
from dp_real.runtime.seeds import row_noise, row_seeds

CONDITIONS = 1024  # embedded prompts to keep; those of ImageNet's 1,000 classes take 0.2 GB, for SD 3 2.8 GB


class LatentDiffusion:
    """A sampler made of a pipeline's parts, which are frozen. It is asked for prompts, or class numbers of a DiT.

    A guidance_scale of 1 or less means none. `tiny_decoder` decodes x0_hat for the guidance only: the images always
    come from the pipeline's VAE. `size` is (height, width) in pixels. `offloads` lets the weights leave the device
    until they are needed again. `negative_prompt` stands in place of the empty prompt. `guidance_rescale` is the share
    of classifier-free guidance's output that is scaled to the deviation of the conditional one. If the index `first` of
    the step to begin with is not 0, `sample` noises real images for that step.

    Raises InputError for a pipeline that cannot be used, draw that size, or encode real images to begin with.
    """

    def __init__(
        self,
        pipe: Any,
        steps: int,
        guidance_scale: float,
        tiny_decoder: Any = None,
        *,
        size: tuple[int, int] | None = None,
        batch_size: int = 0,
        offloads: bool = False,
        negative_prompt: str = "",
        guidance_rescale: float = 0.0,
        first: int = 0,
    ) -> None:
        self.pipe = pipe
        self.adapter = adapt(pipe, size)
        self.adapter.negative_prompt = negative_prompt
        self.guidance_rescale = guidance_rescale
        self.network = self.adapter.network
        self.solver = make_solver(pipe, self.adapter, steps)
        self.first = first
        if first and not isinstance(pipe.vae, AutoencoderKL):
            raise InputError(f"generator.strength: {type(pipe.vae).__name__} is no AutoencoderKL, which encodes images")
        self.guidance_scale = guidance_scale
        self.guidance_decoder = tiny_decoder or pipe.vae
        self.modules = [part for part in (*pipe.components.values(), tiny_decoder) if isinstance(part, nn.Module)]
        for part in self.modules:
            part.eval().requires_grad_(False)
        if pipe.vae.dtype == torch.float16 and pipe.vae.config.get("force_upcast"):  # it would overflow
            pipe.vae.float()
        self.device = self.network.device
        self.offloads = offloads
        self.batches = DeviceBatches(batch_size, gpu=self.device.type == "cuda")
        self._embed = lru_cache(CONDITIONS)(partial(embed, self.adapter))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of the noise from which one image starts."""
        return self.adapter.latent_shape

    def compile(self) -> None:
        """Compile the denoiser and the decoders when they are first called, for batches of every size at once.

        The size grows until memory is full, and a new size would otherwise be compiled anew.
        """
        decoders = [decoder for decoder in (self.pipe.vae, self.guidance_decoder) if hasattr(decoder, "decoder")]
        for part in {self.network, *(decoder.decoder for decoder in decoders)}:
            part.compile(dynamic=True)

    def sample(
        self,
        asked: Sequence[Any],
        noise: Float[Tensor, "batch channels latent_height latent_width"],
        guidance: EntropyGuidance | None = None,
        to_learner: Callable[[Tensor], Tensor] = identity,
        real: Float[Tensor, "batch colours height width"] | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Draw an image for each row, as the learner sees it. The noise is standard normal, of `latent_shape`.

        With `first`, `real` is the image of each row to begin with, in [-1, 1]. It may be grey, and is resized. Raises
        MissingError if not even one row fits into the GPU.
        """

        def draw(rows: slice) -> Tensor:
            x = sample(
                self.denoiser(asked[rows]),
                self.solver,
                self._begin(noise[rows].to(self.device), None if real is None else real[rows]),
                first=self.first,
                guidance=guidance and guidance.for_rows(rows),
                decode=lambda x0_hat: to_learner(decode(self.guidance_decoder, x0_hat)),
            )
            with torch.no_grad():
                return to_learner(decode(self.pipe.vae, x).clamp(-1, 1))

        self._move(self.device)
        return self.batches.draw(len(asked), draw, kind=guidance and guidance.through)

    def _begin(self, noise: Tensor, real: Tensor | None) -> Tensor:
        """What the first step takes: the noise, or real images that are noised with it."""
        if real is None:
            return noise
        height, width = (image_side(self.pipe.vae, side) for side in noise.shape[-2:])
        x0 = encode(self.pipe.vae, fit(real.to(self.device).expand(-1, 3, -1, -1), (3, height, width)))
        return self.solver.noised(x0, noise, self.first)

    def offload(self) -> None:
        if self.offloads:
            self._move(torch.device("cpu"))
            torch.cuda.empty_cache()

    def _move(self, device: torch.device) -> None:
        """Weights that may not leave their device stay."""
        for part in self.modules if self.offloads else ():
            part.to(device)

    def denoiser(self, asked: Sequence[Any]) -> Denoiser:
        """The denoiser for a solver: the network with the condition of each row, and classifier-free guidance."""
        rows = [self._embed(what) for what in asked]
        if self.guidance_scale > 1:
            rows = [self._embed(None)] * len(rows) + rows
        condition = {name: stack([row[name] for row in rows]).to(self.device) for name in rows[0]}

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            stacked = x.repeat(len(rows) // len(x), 1, 1, 1).to(self.network.dtype)
            output = self.adapter.predict(stacked, t, condition).to(x)
            if self.guidance_scale <= 1:
                return output
            unconditional, conditional = output.chunk(2)
            combined = self.adapter.combine(unconditional, conditional, self.guidance_scale)
            if not self.guidance_rescale:
                return combined
            return rescale_noise_cfg(combined, conditional, self.guidance_rescale)

        return denoise


def stack(rows: Sequence[Tensor]) -> Tensor:
    """Rows [1, ...] as one tensor [B, ...]. Sequences [1, n, ...] are padded with zeros to the longest."""
    if len({row.shape for row in rows}) == 1:
        return torch.cat([*rows])
    return pad_sequence([row[0] for row in rows], batch_first=True)


@torch.no_grad()
def embed(adapter: Adapter, what: Any) -> Condition:
    """A row's condition, on the CPU. It is computed alone, so that other rows do not change its rounding."""
    return {name: value.cpu() for name, value in adapter.embed(what).items()}


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
        A pipeline of diffusers.
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
        For a pipeline without an adapter or a solver, or one that cannot draw that size.
    MissingError
        If not even one image fits into the GPU.

    Examples
    --------
    With any image classifier of transformers:

        logits = Classifier(vit, size=224, mean=[0.5] * 3, std=[0.5] * 3)  # dp_real.learners.models.classifier
        guidance = EntropyGuidance(logits, omega=0.05, every=5, through="x0")
        images = sample_images(pipe, ["a photo of a crane"] * 8, guidance)
    """
    model = LatentDiffusion(pipe, steps, guidance_scale, size=size)
    noise = row_noise(row_seeds(seed, 0, range(len(prompts))), model.latent_shape)
    return model.sample(prompts, noise, guidance)
