"""Adapters: how diffusers' pipelines differ in conditioning a row, calling the denoiser, and the solver they need.

To support another pipeline, add a class here that implements `Adapter`, registered under the pipeline's class name.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from dp_base.errors import InputError
from dp_real.guidance.solvers import DDIM, FlowEuler, Solver

Condition = dict[str, Tensor]


class Adapter(Protocol):
    """The interface to one class of pipelines."""

    asked_for: ClassVar[Literal["prompt", "class number"]]

    def __init__(self, pipe: Any) -> None: ...

    @property
    def network(self) -> Any:
        """The denoiser, a module whose config gives the shape of its latents."""
        ...

    def embed(self, what: Any) -> Condition:
        """The denoiser's condition for one row, tensors [1, ...]. None: no condition, for classifier-free guidance."""
        ...

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The denoiser's output, shaped like x [B, ...], at timestep t []."""
        ...


ADAPTERS: dict[str, type[Adapter]] = {}


def adapts(pipeline: str) -> Callable[[type[Adapter]], type[Adapter]]:
    """Return a decorator that registers the adapter of a class of pipelines."""

    def register(adapter: type[Adapter]) -> type[Adapter]:
        ADAPTERS[pipeline] = adapter
        return adapter

    return register


@adapts("StableDiffusionPipeline")
class StableDiffusion:
    """Stable Diffusion 1 and 2: a UNet that attends to a prompt."""

    asked_for: ClassVar[Literal["prompt", "class number"]] = "prompt"

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.network = pipe.unet

    def embed(self, what: str | None) -> Condition:
        """The encoding of a prompt; of "" for None."""
        return {"encoder_hidden_states": self.pipe.encode_prompt(what or "", self.network.device, 1, False)[0]}

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See Adapter."""
        return self.network(x, t, **condition, return_dict=False)[0]


@adapts("StableDiffusionXLPipeline")
class StableDiffusionXL:
    """Stable Diffusion XL: a UNet that attends to two encodings of a prompt. It also gets a pooled one and the size."""

    asked_for: ClassVar[Literal["prompt", "class number"]] = "prompt"

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.network = pipe.unet

    def embed(self, what: str | None) -> Condition:
        """Both encodings of a prompt, the pooled one, and the size of the image."""
        texts = self.pipe.encode_prompt(
            what or "", device=self.network.device, do_classifier_free_guidance=what is None
        )
        text, no_text, pooled, no_pooled = texts  # no_text is zeros or the encoding of "": the pipeline's config says
        side = image_side(self.pipe.vae, self.network)
        sizes = torch.tensor([[side, side, 0, 0, side, side]]).to(text)  # original size, crop corner, target size
        return {
            "encoder_hidden_states": no_text if what is None else text,
            "text_embeds": no_pooled if what is None else pooled,
            "time_ids": sizes,
        }

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See Adapter."""
        added = {name: condition[name] for name in ("text_embeds", "time_ids")}
        return self.network(x, t, condition["encoder_hidden_states"], added_cond_kwargs=added, return_dict=False)[0]


@adapts("StableDiffusion3Pipeline")
class StableDiffusion3:
    """Stable Diffusion 3: a transformer over latents and prompt encodings together, trained by flow matching."""

    asked_for: ClassVar[Literal["prompt", "class number"]] = "prompt"

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.network = pipe.transformer

    def embed(self, what: str | None) -> Condition:
        """The joint encoding of a prompt, and the pooled one."""
        text, _, pooled, _ = self.pipe.encode_prompt(
            what or "", None, None, device=self.network.device, do_classifier_free_guidance=False
        )
        return {"encoder_hidden_states": text, "pooled_projections": pooled}

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See Adapter."""
        return self.network(x, timestep=t.expand(len(x)), **condition, return_dict=False)[0]


@adapts("DiTPipeline")
class DiT:
    """DiT: a transformer conditioned on a class number. The number after the last class means no class."""

    asked_for: ClassVar[Literal["prompt", "class number"]] = "class number"

    def __init__(self, pipe: Any) -> None:
        self.network = pipe.transformer

    def embed(self, what: int | None) -> Condition:
        """The class number. Raises InputError for a number that the model does not have."""
        classes = self.network.config.num_embeds_ada_norm
        if what is not None and what >= classes:
            raise InputError(f"class number {what}: this DiT has {classes} classes, from 0")
        return {"class_labels": torch.tensor([classes if what is None else what])}

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See Adapter."""
        answer = self.network(x, timestep=t.expand(len(x)), **condition, return_dict=False)[0]
        return answer[:, : x.shape[1]]  # the other channels are a learned variance, which DDIM does not use


def adapt(pipe: Any) -> Adapter:
    """The adapter of a pipeline. Raises InputError if its class has none."""
    check_supported(type(pipe).__name__)
    return ADAPTERS[type(pipe).__name__](pipe)


def check_supported(kind: str, where: str = "") -> None:
    """Raise InputError unless pipelines of class `kind` have an adapter. where: begins the message."""
    if kind not in ADAPTERS:
        raise InputError(f"{where}{kind} is no pipeline that can be used here; these can: {', '.join(ADAPTERS)}")


def image_side(vae: Any, network: Any) -> int:
    """Side, in pixels, of the images that the denoiser was trained on."""
    return network.config.sample_size * 2 ** (len(vae.config.block_out_channels) - 1)


def make_solver(pipe: Any, network: Any, steps: int) -> Solver:
    """A solver with the pipeline's own noise schedule: DDIM, or Euler for flow matching. Else raises InputError."""
    config = pipe.scheduler.config
    if isinstance(pipe.scheduler, FlowMatchEulerDiscreteScheduler):
        flow: Any = FlowMatchEulerDiscreteScheduler.from_config(config)
        flow.set_timesteps(steps, mu=dynamic_shift(config, network) if config.use_dynamic_shifting else None)
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


def dynamic_shift(config: Any, network: Any) -> float:
    """The shift mu of the noise levels, for schedulers in which it depends on the image size."""
    from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift

    patches = (network.config.sample_size // network.config.patch_size) ** 2
    lengths = (config.base_image_seq_len, config.max_image_seq_len)
    return calculate_shift(patches, *lengths, config.base_shift, config.max_shift)
