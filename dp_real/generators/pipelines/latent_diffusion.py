"""Latent diffusion with entropy guidance, for any pipeline of diffusers that has an adapter.

Images are [B, 3, H, W] in [-1, 1]. x_t and the guidance are float32, also for a pipeline of lower precision.

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
from torch.nn.utils.rnn import pad_sequence

from dp_real.generators.pipelines.adapters import Adapter, Condition, adapt, make_solver
from dp_real.generators.pipelines.device_batches import DeviceBatches
from dp_real.generators.pipelines.latents import decode
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.sampler import Denoiser, identity, sample
from dp_real.runtime.seeds import row_noise, row_seeds

CONDITIONS = 1024  # embedded prompts to keep; those of ImageNet's 1,000 classes take 0.2 GB, for SD 3 2.8 GB

View = Callable[[Tensor], Tensor]
"""view(images) returns images as the learner sees them."""


class LatentDiffusion:
    """A sampler made of a pipeline's parts, which are frozen. It is asked for prompts, or class numbers of a DiT.

    tiny_decoder: decodes x0_hat for the guidance; the images themselves always come from the pipeline's own VAE.
    size: height and width of what is drawn, in pixels; None: the pipeline's usual size.
    batch_size: see DeviceBatches. offload: whether `rest` moves the weights off the device until they are needed.
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
        offload: bool = False,
    ) -> None:
        """Raises InputError for a pipeline that cannot be used, or cannot draw that size."""
        self.pipe = pipe
        self.adapter = adapt(pipe, size)
        self.network = self.adapter.network
        self.solver = make_solver(pipe, self.adapter, steps)
        self.guidance_scale = guidance_scale
        self.guidance_decoder = tiny_decoder or pipe.vae
        self.modules = [part for part in (*pipe.components.values(), tiny_decoder) if isinstance(part, nn.Module)]
        for part in self.modules:
            part.eval().requires_grad_(False)
        if pipe.vae.dtype == torch.float16 and pipe.vae.config.get("force_upcast"):  # it would overflow
            pipe.vae.float()
        self.device = self.network.device
        self.offload = offload
        self.batches = DeviceBatches(batch_size, gpu=self.device.type == "cuda")
        self._embed = lru_cache(CONDITIONS)(partial(embed, self.adapter))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of the noise from which one image starts."""
        return self.adapter.latent_shape

    def sample(
        self, asked: Sequence[Any], noise: Tensor, guidance: EntropyGuidance | None = None, view: View = identity
    ) -> Tensor:
        """Images for B prompts or class numbers, from standard normal noise [B, *latent_shape], passed through `view`.

        Raises MissingError if not even one row fits into the GPU.
        """

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

    def rest(self) -> None:
        """Move the weights off the device, if `offload` is set."""
        if self.offload:
            self._move(torch.device("cpu"))
            torch.cuda.empty_cache()

    def _move(self, device: torch.device) -> None:
        for part in self.modules if self.offload else ():
            part.to(device)

    def denoiser(self, asked: Sequence[Any], guidance_scale: float) -> Denoiser:
        """The denoiser for a solver: the network with the condition of each row, and classifier-free guidance."""
        rows = [self._embed(what) for what in asked]
        if guidance_scale > 1:
            rows = [self._embed(None)] * len(rows) + rows
        condition = {name: stack([row[name] for row in rows]).to(self.device) for name in rows[0]}

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            stacked = x.repeat(len(rows) // len(x), 1, 1, 1).to(self.network.dtype)
            output = self.adapter.predict(stacked, t, condition).to(x)
            if guidance_scale <= 1:
                return output
            unconditional, conditional = output.chunk(2)
            return self.adapter.combine(unconditional, conditional, guidance_scale)

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
) -> Tensor:
    """Draw an image for each prompt (class number of a DiT); returns [B, 3, H, W] in [-1, 1]. Freezes the pipeline.

    guidance.logits reads images of that form. The noise of image i is a function of `seed` and i alone. size: (H, W);
    None: the pipeline's usual size. Raises InputError for a pipeline without an adapter or a solver, or that cannot
    draw that size, MissingError if not even one image fits into the GPU.
    """
    model = LatentDiffusion(pipe, steps, guidance_scale, size=size)
    return model.sample(prompts, row_noise(row_seeds(seed, 0, range(len(prompts))), model.latent_shape), guidance)
