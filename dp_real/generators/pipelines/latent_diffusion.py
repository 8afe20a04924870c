"""What every sampler of diffusers' pipelines shares, and the own loop for Stable Diffusion 1, 2 and XL and DiT.

Images are [batch, 3, height, width] in [-1, 1]; x_t and the guidance are float32 in any pipeline.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from jaxtyping import Float, Shaped, UInt64
from torch import Tensor, nn

from dp_base.errors import InputError
from dp_real.generators.pipelines.device_batches import DeviceBatches
from dp_real.generators.pipelines.latents import Images, decode, encode, image_side
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.sampler import DDIM, Denoiser, identity, sample
from dp_real.runtime.flops import uncounted
from dp_real.runtime.pixels import fit
from dp_real.runtime.seeds import row_noise
from dp_real.sections import first_step

CONDITIONS = 1024  # embedded prompts to keep; those of ImageNet's 1,000 classes take 0.2 GB
DIT = "DiTPipeline"
OWN_LOOP = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", DIT)
"""The pipelines that the own loop draws with: guidance may go through their denoiser."""

RealImages = Float[Tensor, "batch 3 real_height real_width"]
"""Of any size, in [-1, 1]."""
Condition = dict[str, Tensor]
"""What the denoiser is conditioned on, by the names of its arguments: tensors [1, ...] for a row."""


@dataclass(eq=False)
class PipelineSampler(ABC):
    """A pipeline with frozen parts, which draws rows in device batches.

    `tiny_decoder` decodes x0_hat for the guidance only. `size` is (height, width). `guidance_rescale` is the share of
    the output scaled to the conditional one's deviation. Below 1, `strength` is the share of steps taken from real
    images.
    """

    pipe: Any
    steps: int
    guidance_scale: float
    tiny_decoder: Any = None
    _: KW_ONLY
    size: tuple[int, int] | None = None
    batch_size: int = 0
    offloads: bool = False
    negative_prompt: str = ""
    guidance_rescale: float = 0.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        pipe = self.pipe
        self.guidance_decoder = self.tiny_decoder or pipe.vae
        self.network: Any = getattr(pipe, "transformer", None) or pipe.unet
        if self.size is not None:
            self._check_size(self.size)
        self.modules = [part for part in (*pipe.components.values(), self.tiny_decoder) if isinstance(part, nn.Module)]
        for part in self.modules:
            part.eval().requires_grad_(False)
        if pipe.vae.dtype == torch.float16 and pipe.vae.config.get("force_upcast"):  # it would overflow
            pipe.vae.float()
        self.device = self.network.device
        self.batches = DeviceBatches(self.batch_size, gpu=self.device.type == "cuda")

    def _check_size(self, size: tuple[int, int]) -> None:
        config = self.network.config
        token_side = image_side(
            self.pipe.vae, 2 if hasattr(self.pipe, "_pack_latents") else config.get("patch_size", 1)
        )
        limit = (config.get("pos_embed_max_size") or 0) * token_side
        if any(side % token_side or (limit and side > limit) for side in size):
            at_most = f", {limit} at most" if limit else ""
            raise InputError(
                f"{type(self.pipe).__name__} cannot draw {size[0]} x {size[1]} pixels: multiples of "
                f"{token_side}{at_most}, it can"
            )

    def compile(self) -> None:
        """Compile for all sizes of batches at once, as they grow until memory is full."""
        decoders = [decoder for decoder in (self.pipe.vae, self.guidance_decoder) if hasattr(decoder, "decoder")]
        for part in {self.network, *(decoder.decoder for decoder in decoders)}:
            part.compile(dynamic=True)

    def sample(
        self,
        asked: Sequence[Any],
        noise: Any,
        guidance: EntropyGuidance | None = None,
        to_learner: Callable[[Tensor], Tensor] = identity,
        real: Float[Tensor, "batch colours height width"] | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Draw an image for each row, as the learner sees it, from what `noise` returned.

        With a strength below 1, each row begins with an image of `real`, in [-1, 1], of any size.
        """

        def draw(rows: slice) -> Tensor:
            chosen = None if real is None else real[rows].to(self.device).expand(-1, 3, -1, -1)
            images = self.draw(asked[rows], noise[rows], guidance and guidance.for_rows(rows), to_learner, chosen)
            return to_learner(images)

        self._move(self.device)
        return self.batches.draw(len(asked), draw, kind=guidance and guidance.through)

    @abstractmethod
    def noise(self, seeds: UInt64[np.ndarray, " batch"]) -> Any:
        """What each row is drawn from: a function of its seed alone."""

    @abstractmethod
    def draw(
        self,
        asked: Sequence[Any],
        noise: Any,
        guidance: EntropyGuidance | None,
        to_learner: Callable[[Tensor], Tensor],
        real: RealImages | None,
    ) -> Images:
        """Draw a device batch, without gradients."""

    def offload(self) -> None:
        if self.offloads:
            self._move(torch.device("cpu"))
            torch.cuda.empty_cache()

    def _move(self, device: torch.device) -> None:
        """Weights that may not leave their device stay."""
        for part in self.modules if self.offloads else ():
            part.to(device)


class LatentDiffusion(PipelineSampler):
    """The own loop: DDIM with the pipeline's noise schedule, for prompts or a DiT's class numbers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kind = type(self.pipe).__name__
        self.solver = DDIM(_ddim(self.pipe.scheduler, self.steps))
        self.first = first_step(self.steps, self.strength)
        vae = self.pipe.vae
        if self.first and not isinstance(vae, AutoencoderKL):
            raise InputError(f"generator.strength: {type(vae).__name__} is no AutoencoderKL, which encodes images")
        config = self.network.config
        scale = image_side(vae, 1)
        height, width = self.size or 2 * (config.sample_size * scale,)
        self.image_size = height, width
        self.latent_shape = config.in_channels, height // scale, width // scale
        self._embed = lru_cache(CONDITIONS)(self._embedded)

    def noise(self, seeds: UInt64[np.ndarray, " batch"]) -> Float[Tensor, "batch channels height width"]:
        return row_noise(seeds, self.latent_shape)

    def draw(
        self,
        asked: Sequence[Any],
        noise: Float[Tensor, "batch channels latent_height latent_width"],
        guidance: EntropyGuidance | None,
        to_learner: Callable[[Tensor], Tensor],
        real: RealImages | None,
    ) -> Images:
        x = noise.to(self.device)
        if real is not None:
            x0 = encode(self.pipe.vae, fit(real, (3, *self.image_size)))
            x = self.solver.noised(x0, x, self.first)
        x = sample(
            self.denoiser(asked),
            self.solver,
            x,
            first=self.first,
            guidance=guidance,
            decode=lambda x0_hat: to_learner(decode(self.guidance_decoder, x0_hat)),
        )
        with torch.no_grad():
            return decode(self.pipe.vae, x).clamp(-1, 1)

    def denoiser(self, asked: Sequence[Any]) -> Denoiser:
        with uncounted():
            rows = [self._embed(what) for what in asked]
            if self.guidance_scale > 1:
                rows = [self._embed(None)] * len(rows) + rows
        condition = {name: torch.cat([row[name] for row in rows]).to(self.device) for name in rows[0]}

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            stacked = x.repeat(len(rows) // len(x), 1, 1, 1).to(self.network.dtype)
            output = self.predict(stacked, t, condition).to(x)
            if self.guidance_scale <= 1:
                return output
            unconditional, conditional = output.chunk(2)
            combined = unconditional + self.guidance_scale * (conditional - unconditional)
            if not self.guidance_rescale:
                return combined
            return rescale_noise_cfg(combined, conditional, self.guidance_rescale)

        return denoise

    def predict(
        self, x: Float[Tensor, "batch channels height width"], t: Shaped[Tensor, ""], condition: Condition
    ) -> Float[Tensor, "batch channels height width"]:
        if self.kind == DIT:
            answer = self.network(x, timestep=t.expand(len(x)), **condition, return_dict=False)[0]
            return answer[:, : x.shape[1]]  # the other channels are a learned variance, which DDIM does not use
        text, added = condition["text"], {name: value for name, value in condition.items() if name != "text"}
        return self.network(x, t, text, added_cond_kwargs=added, return_dict=False)[0]

    @torch.no_grad()
    def _embedded(self, what: Any) -> Condition:
        """The condition of one row, computed alone, so that other rows do not change its rounding."""
        if self.kind == DIT:
            classes = self.network.config.num_embeds_ada_norm
            if what is not None and what >= classes:
                raise InputError(f"class number {what}: this DiT has {classes} classes, from 0")
            return {"class_labels": torch.tensor([classes if what is None else what])}
        if self.kind == "StableDiffusionPipeline":
            text = self.negative_prompt if what is None else what
            return {"text": self.pipe.encode_prompt(text, self.device, 1, False)[0].cpu()}
        texts = self.pipe.encode_prompt(
            what or "",
            device=self.device,
            do_classifier_free_guidance=what is None,
            negative_prompt=self.negative_prompt or None,
        )
        # What stands for no text is zeros or the encoding of "": the pipeline's config says.
        text, pooled = texts[1::2] if what is None else texts[::2]
        crop_corner = (0, 0)
        sizes = torch.tensor([[*self.image_size, *crop_corner, *self.image_size]])  # original and target
        return {"text": text.cpu(), "text_embeds": pooled.cpu(), "time_ids": sizes.to(text.dtype)}


def _ddim(scheduler: Any, steps: int) -> Any:
    config = scheduler.config
    if "beta_start" not in config or config.get("prediction_type") not in ("epsilon", "v_prediction", "sample"):
        raise InputError(
            f"scheduler {type(scheduler).__name__}, prediction_type {config.get('prediction_type')!r}: no diffusion "
            "with betas that predicts epsilon, v_prediction or sample"
        )
    # By default DDIM clips x0_hat to [-1, 1]. Latents are wider, but a pipeline's config need not say so.
    ddim: Any = DDIMScheduler.from_config(config, clip_sample=False, thresholding=False)
    ddim.set_timesteps(steps)
    return ddim
