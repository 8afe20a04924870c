"""Adapters: how diffusers' pipelines differ in conditioning a row, calling the denoiser, and the solver they need.

To support another pipeline, add a class here that implements `Adapter`, and register it under the name of the
pipeline's class.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from jaxtyping import Float, Shaped
from torch import Tensor

from dp_base.errors import InputError
from dp_real.generators.pipelines.latents import image_side
from dp_real.guidance.solvers import DDIM, FlowEuler, Solver

Condition = dict[str, Tensor]
"""What the denoiser is conditioned on, by the names of its arguments: tensors [1, ...] for a row."""

Latents = Float[Tensor, "batch channels height width"]

DISTILLED_GUIDANCE = 3.5  # diffusers' guidance_scale for transformers that it was distilled into


class Adapter(Protocol):
    """The interface to one class of pipelines."""

    asked_for: ClassVar[Literal["prompt", "class number"]]

    def __init__(self, pipe: Any) -> None: ...

    @property
    def network(self) -> Any:
        """The denoiser: a module whose config gives the shape of its latents."""
        ...

    @property
    def patch(self) -> int:
        """The side, in latents, of a patch that the denoiser takes as one token."""
        ...

    latent_shape: tuple[int, int, int]
    """Shape [channels, height, width] of an image's noise: of the usual size, unless `adapt` sets another."""

    negative_prompt: str
    """What stands for no condition, in pipelines that are asked for prompts; empty: what the pipeline takes."""

    def embed(self, what: Any) -> Condition:
        """The denoiser's condition for one row: a prompt or class number, or None for classifier-free guidance.

        Prompts of different lengths are padded with zeros behind, so their mask must be among the tensors.
        """
        ...

    def predict(self, x: Latents, t: Shaped[Tensor, ""], condition: Condition) -> Latents:
        """What the denoiser says of x_t, in the shape of x."""
        ...

    def combine(self, unconditional: Latents, conditional: Latents, guidance_scale: float) -> Latents:
        """Classifier-free guidance, in diffusers' convention: a scale of 1 gives the conditional output."""
        ...


class NetworkAdapter:
    """Base of adapters whose denoiser is a part of the pipeline.

    The denoiser takes latents as they are, and its config gives their shape.
    """

    asked_for: ClassVar[Literal["prompt", "class number"]] = "prompt"
    part: ClassVar[str] = "transformer"

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.network = getattr(pipe, self.part)
        self.latent_shape: tuple[int, int, int] = self.usual_shape()
        self.negative_prompt = ""

    def text(self, what: str | None) -> str:
        """The prompt, or what stands for none."""
        return self.negative_prompt if what is None else what

    def usual_shape(self) -> tuple[int, int, int]:
        """The latents' shape [channels, height, width] at the size that the pipeline draws unless told another."""
        config = self.network.config
        return config.in_channels, config.sample_size, config.sample_size

    @property
    def patch(self) -> int:
        return self.network.config.get("patch_size", 1)

    def combine(self, unconditional: Latents, conditional: Latents, guidance_scale: float) -> Latents:
        return unconditional + guidance_scale * (conditional - unconditional)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        _, height, width = self.latent_shape
        return image_side(self.pipe.vae, height), image_side(self.pipe.vae, width)


ADAPTERS: dict[str, type[Adapter]] = {}


def adapts(pipeline: str) -> Callable[[type[Adapter]], type[Adapter]]:
    """Register an adapter under the name of a pipeline's class."""

    def register(adapter: type[Adapter]) -> type[Adapter]:
        ADAPTERS[pipeline] = adapter
        return adapter

    return register


@adapts("StableDiffusionPipeline")
class StableDiffusion(NetworkAdapter):
    """Stable Diffusion 1 and 2: a UNet that attends to a prompt."""

    part: ClassVar[str] = "unet"

    def embed(self, what: str | None) -> Condition:
        """The encoding of a prompt. Without a condition it is that of the empty prompt."""
        return {"encoder_hidden_states": self.pipe.encode_prompt(self.text(what), self.network.device, 1, False)[0]}

    def predict(self, x: Latents, t: Shaped[Tensor, ""], condition: Condition) -> Latents:
        return self.network(x, t, **condition, return_dict=False)[0]


@adapts("StableDiffusionXLPipeline")
class StableDiffusionXL(NetworkAdapter):
    """Stable Diffusion XL: a UNet that attends to two encodings of a prompt, and gets a pooled one and the size."""

    part: ClassVar[str] = "unet"

    def embed(self, what: str | None) -> Condition:
        """Both encodings of a prompt, the pooled one, and the size of the image."""
        texts = self.pipe.encode_prompt(
            what or "",
            device=self.network.device,
            do_classifier_free_guidance=what is None,
            negative_prompt=self.negative_prompt or None,
        )
        text, no_text, pooled, no_pooled = texts  # no_text is zeros or the encoding of "": the pipeline's config says
        crop_corner = (0, 0)
        sizes = torch.tensor([[*self.image_size, *crop_corner, *self.image_size]]).to(text)  # original and target
        return {
            "encoder_hidden_states": no_text if what is None else text,
            "text_embeds": no_pooled if what is None else pooled,
            "time_ids": sizes,
        }

    def predict(self, x: Latents, t: Shaped[Tensor, ""], condition: Condition) -> Latents:
        added = {name: condition[name] for name in ("text_embeds", "time_ids")}
        return self.network(x, t, condition["encoder_hidden_states"], added_cond_kwargs=added, return_dict=False)[0]


@adapts("StableDiffusion3Pipeline")
class StableDiffusion3(NetworkAdapter):
    """Stable Diffusion 3: a transformer over latents and prompt encodings together, trained by flow matching."""

    def embed(self, what: str | None) -> Condition:
        """The joint encoding of a prompt, and the pooled one."""
        text, _, pooled, _ = self.pipe.encode_prompt(
            self.text(what), None, None, device=self.network.device, do_classifier_free_guidance=False
        )
        return {"encoder_hidden_states": text, "pooled_projections": pooled}

    def predict(self, x: Latents, t: Shaped[Tensor, ""], condition: Condition) -> Latents:
        return self.network(x, timestep=t.expand(len(x)), **condition, return_dict=False)[0]


@adapts("DiTPipeline")
class DiT(NetworkAdapter):
    """DiT: a transformer conditioned on a class number. The number after the last class means no class."""

    asked_for: ClassVar[Literal["prompt", "class number"]] = "class number"

    def embed(self, what: int | None) -> Condition:
        """Raises InputError for a class number that the model does not have."""
        classes = self.network.config.num_embeds_ada_norm
        if what is not None and what >= classes:
            raise InputError(f"class number {what}: this DiT has {classes} classes, from 0")
        return {"class_labels": torch.tensor([classes if what is None else what])}

    def predict(self, x: Latents, t: Shaped[Tensor, ""], condition: Condition) -> Latents:
        answer = self.network(x, timestep=t.expand(len(x)), **condition, return_dict=False)[0]
        return answer[:, : x.shape[1]]  # the other channels are a learned variance, which DDIM does not use


@adapts("PixArtAlphaPipeline")
@adapts("PixArtSigmaPipeline")
class PixArt(NetworkAdapter):
    """PixArt: a transformer that attends to a prompt. The alpha of large images is also told their size."""

    def embed(self, what: str | None) -> Condition:
        """The encoding of a prompt with its mask, and the size of the image where it is asked for."""
        text, mask, _, _ = self.pipe.encode_prompt(self.text(what), False, device=self.network.device)
        condition = {"encoder_hidden_states": text, "encoder_attention_mask": mask}
        if self.network.use_additional_conditions:
            height, width = self.image_size
            condition["resolution"] = text.new_tensor([[height, width]])
            condition["aspect_ratio"] = text.new_tensor([[height / width]])
        return condition

    def predict(self, x: Latents, t: Shaped[Tensor, ""], condition: Condition) -> Latents:
        text = {name: condition[name] for name in ("encoder_hidden_states", "encoder_attention_mask")}
        size = {name: condition.get(name) for name in ("resolution", "aspect_ratio")}
        answer = self.network(x, timestep=t.expand(len(x)), added_cond_kwargs=size, **text, return_dict=False)[0]
        return answer[:, : x.shape[1]]  # as for DiT


@adapts("SanaPipeline")
class Sana(NetworkAdapter):
    """SANA: a transformer with linear attention over few, deep latents, trained by flow matching."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self.instruction = inspect.signature(type(pipe).__call__).parameters["complex_human_instruction"].default

    def embed(self, what: str | None) -> Condition:
        """The encoding of a prompt, behind the pipeline's usual instruction, and its mask."""
        text, mask, _, _ = self.pipe.encode_prompt(
            self.text(what),
            False,
            device=self.network.device,
            complex_human_instruction=None if what is None else self.instruction,
        )
        return {"encoder_hidden_states": text, "encoder_attention_mask": mask}

    def predict(self, x: Latents, t: Shaped[Tensor, ""], condition: Condition) -> Latents:
        timestep = t.expand(len(x)) * self.network.config.timestep_scale
        return self.network(x, timestep=timestep, **condition, return_dict=False)[0]


class PackedAdapter(NetworkAdapter):
    """Base of adapters of a transformer whose tokens are patches of 2 x 2 latents, with all channels of each."""

    def usual_shape(self) -> tuple[int, int, int]:
        side = self.pipe.default_sample_size
        return self.network.config.in_channels // 4, side, side

    @property
    def patch(self) -> int:
        return 2

    def tokens(self, x: Latents, t: Shaped[Tensor, ""]) -> dict[str, Any]:
        """The arguments that such transformers share. One that guidance was distilled into gets its usual scale."""
        if self.network.config.guidance_embeds:
            guidance = torch.full((len(x),), DISTILLED_GUIDANCE, device=x.device)
        else:
            guidance = None
        return {
            "hidden_states": self.pipe._pack_latents(x, *x.shape),
            "timestep": t.expand(len(x)) / 1000,
            "guidance": guidance,
            "return_dict": False,
        }

    def latents(self, tokens: Float[Tensor, "batch tokens token_width"], x: Latents) -> Latents:
        scale = self.pipe.vae_scale_factor
        _, _, height, width = x.shape
        return self.pipe._unpack_latents(tokens, height * scale, width * scale, scale).view_as(x)


@adapts("FluxPipeline")
class Flux(PackedAdapter):
    """FLUX: a transformer over packed latents and a prompt together, trained by flow matching."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self._positions = cache(pipe._prepare_latent_image_ids)  # they come from the CPU, so they are kept

    def embed(self, what: str | None) -> Condition:
        """The encoding of a prompt, and the pooled one."""
        text, pooled, _ = self.pipe.encode_prompt(self.text(what), device=self.network.device)
        return {"encoder_hidden_states": text, "pooled_projections": pooled}

    def predict(self, x: Latents, t: Shaped[Tensor, ""], condition: Condition) -> Latents:
        positions = self._positions(1, x.shape[2] // 2, x.shape[3] // 2, x.device, x.dtype)
        text_positions = x.new_zeros(condition["encoder_hidden_states"].shape[1], 3)
        answer = self.network(**self.tokens(x, t), **condition, img_ids=positions, txt_ids=text_positions)[0]
        return self.latents(answer, x)


@adapts("QwenImagePipeline")
class QwenImage(PackedAdapter):
    """Qwen-Image: a transformer over packed latents and a prompt together, trained by flow matching."""

    def embed(self, what: str | None) -> Condition:
        """The encoding of a prompt, and its mask."""
        text, mask = self.pipe.encode_prompt(self.text(what) or " ", device=self.network.device)
        if mask is None:
            mask = torch.ones(text.shape[:2], dtype=torch.long, device=text.device)
        return {"encoder_hidden_states": text, "encoder_hidden_states_mask": mask}

    def predict(self, x: Latents, t: Shaped[Tensor, ""], condition: Condition) -> Latents:
        shapes = [[(1, x.shape[2] // 2, x.shape[3] // 2)]] * len(x)
        return self.latents(self.network(**self.tokens(x, t), **condition, img_shapes=shapes)[0], x)

    def combine(self, unconditional: Latents, conditional: Latents, guidance_scale: float) -> Latents:
        """Each token gets the norm of the conditional one, as in the pipeline."""
        combined = super().combine(unconditional, conditional, guidance_scale)
        wanted = self.pipe._pack_latents(conditional, *conditional.shape)
        found = self.pipe._pack_latents(combined, *combined.shape)
        ratio = wanted.norm(dim=-1, keepdim=True) / found.norm(dim=-1, keepdim=True)
        return self.latents(found * ratio, combined)


def adapt(pipe: Any, size: tuple[int, int] | None = None) -> Adapter:
    """The adapter of a pipeline, for images of (height, width) pixels; None: the pipeline's usual size.

    Raises InputError if there is no adapter for its class, or if it cannot draw that size.
    """
    check_supported(type(pipe).__name__)
    adapter = ADAPTERS[type(pipe).__name__](pipe)
    if size is not None:
        _check_size(type(pipe).__name__, adapter, image_side(pipe.vae, adapter.patch), size)
        scale = image_side(pipe.vae, 1)
        adapter.latent_shape = (adapter.latent_shape[0], size[0] // scale, size[1] // scale)
    return adapter


def _check_size(pipeline: str, adapter: Adapter, token_side: int, size: tuple[int, int]) -> None:
    """Raise InputError unless a pipeline can draw images of that size. `token_side` is in pixels."""
    most_tokens = adapter.network.config.get("pos_embed_max_size")
    limit = most_tokens * token_side if most_tokens else None
    if any(side % token_side or (limit and side > limit) for side in size):
        at_most = f", {limit} at most" if limit else ""
        raise InputError(
            f"{pipeline} cannot draw {size[0]} x {size[1]} pixels: multiples of {token_side}{at_most}, it can"
        )


def check_supported(kind: str, where: str = "") -> None:
    """Raise InputError unless there is an adapter for pipelines of class `kind`. `where` begins the message."""
    if kind not in ADAPTERS:
        raise InputError(f"{where}{kind} is no pipeline that can be used here; these can: {', '.join(ADAPTERS)}")


def make_solver(pipe: Any, adapter: Adapter, steps: int) -> Solver:
    """A solver with the pipeline's own noise schedule: DDIM, or Euler for flow matching.

    Raises InputError for another schedule.
    """
    config = pipe.scheduler.config
    if isinstance(pipe.scheduler, FlowMatchEulerDiscreteScheduler):
        flow: Any = FlowMatchEulerDiscreteScheduler.from_config(config)
        packs = isinstance(adapter, PackedAdapter)
        even = np.linspace(1, 1 / steps, steps) if packs else None  # as such a pipeline asks for
        shift = dynamic_shift(config, adapter) if config.use_dynamic_shifting else None
        flow.set_timesteps(steps, sigmas=even, mu=shift)
        return FlowEuler(flow)
    if config.get("use_flow_sigmas"):
        flow = FlowMatchEulerDiscreteScheduler(config["num_train_timesteps"], shift=config["flow_shift"])
        flow.set_timesteps(steps)
        return FlowEuler(flow)
    if "beta_start" not in config or config.get("prediction_type") not in ("epsilon", "v_prediction", "sample"):
        raise InputError(
            f"scheduler {type(pipe.scheduler).__name__}, prediction_type {config.get('prediction_type')!r}: neither a "
            "diffusion with betas that predicts epsilon, v_prediction or sample, nor FlowMatchEulerDiscreteScheduler"
        )
    # By default DDIM clips x0_hat to [-1, 1]. Latents are wider, but a pipeline's config need not say so.
    ddim: Any = DDIMScheduler.from_config(config, clip_sample=False, thresholding=False)
    ddim.set_timesteps(steps)
    return DDIM(ddim)


def dynamic_shift(config: Any, adapter: Adapter) -> float:
    """The shift mu of the noise levels, for schedulers in which it depends on the size of the image."""
    from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift

    _, height, width = adapter.latent_shape
    patches = (height // adapter.patch) * (width // adapter.patch)
    lengths = (config.base_image_seq_len, config.max_image_seq_len)
    return calculate_shift(patches, *lengths, config.base_shift, config.max_shift)
