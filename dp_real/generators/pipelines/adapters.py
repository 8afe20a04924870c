"""What diffusers' pipelines differ in: how a row is conditioned, how the denoiser is asked, which steps it is made for.

Another pipeline is a class here that answers `Adapter`, under the name of the pipeline's class.
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
    """One kind of pipeline."""

    asked_for: ClassVar[Literal["prompt", "class number"]]

    def __init__(self, pipe: Any) -> None: ...

    @property
    def network(self) -> Any:
        """The denoiser: a module whose config says what its latents are like."""
        ...

    def embed(self, what: Any) -> Condition:
        """What the denoiser is told about one row, each [1, ...]; None: nothing, for classifier-free guidance."""
        ...

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The denoiser's answer, like x [B, ...], at timestep t []."""
        ...


ADAPTERS: dict[str, type[Adapter]] = {}


def adapts(pipeline: str) -> Callable[[type[Adapter]], type[Adapter]]:
    """A decorator that registers the adapter of a class of pipelines."""

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
        """The encoding of a prompt; of no text for None."""
        return {"encoder_hidden_states": self.pipe.encode_prompt(what or "", self.network.device, 1, False)[0]}

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See Adapter."""
        return self.network(x, t, **condition, return_dict=False)[0]


@adapts("StableDiffusionXLPipeline")
class StableDiffusionXL:
    """A UNet that attends to two encodings of a prompt and is told a pooled one, and the size of the image."""

    asked_for: ClassVar[Literal["prompt", "class number"]] = "prompt"

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.network = pipe.unet

    def embed(self, what: str | None) -> Condition:
        """Both encodings of a prompt, the pooled one, and the size of the image."""
        texts = self.pipe.encode_prompt(
            what or "", device=self.network.device, do_classifier_free_guidance=what is None
        )
        text, no_text, pooled, no_pooled = texts  # no text may be zeros instead of "", as the pipeline's config says
        side = image_side(self.pipe.vae, self.network)
        sizes = torch.tensor([[side, side, 0, 0, side, side]]).to(text)  # original, crop's corner, target
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
    """A transformer over latents and the encodings of a prompt together, trained by flow matching."""

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
    """A transformer that is told a class by its number; the number after the last means no class."""

    asked_for: ClassVar[Literal["prompt", "class number"]] = "class number"

    def __init__(self, pipe: Any) -> None:
        self.network = pipe.transformer

    def embed(self, what: int | None) -> Condition:
        """A class by its number. Raises InputError for a number that the model does not have."""
        classes = self.network.config.num_embeds_ada_norm
        if what is not None and what >= classes:
            raise InputError(f"class number {what}: this DiT has {classes} classes, from 0")
        return {"class_labels": torch.tensor([classes if what is None else what])}

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See Adapter."""
        answer = self.network(x, timestep=t.expand(len(x)), **condition, return_dict=False)[0]
        return answer[:, : x.shape[1]]  # what follows is a learned variance, which DDIM has no use for


def adapt(pipe: Any) -> Adapter:
    """The adapter of a pipeline. Raises InputError for one that has none."""
    check_supported(type(pipe).__name__)
    return ADAPTERS[type(pipe).__name__](pipe)


def check_supported(kind: str, where: str = "") -> None:
    """Raise InputError unless pipelines of this class can be used."""
    if kind not in ADAPTERS:
        raise InputError(f"{where}{kind} is no pipeline that can be used here; these can: {', '.join(ADAPTERS)}")


def image_side(vae: Any, network: Any) -> int:
    """Pixels a side of the images that the denoiser was trained on."""
    return network.config.sample_size * 2 ** (len(vae.config.block_out_channels) - 1)


def make_solver(pipe: Any, network: Any, steps: int) -> Solver:
    """The pipeline's own noise schedule, under DDIM or, for a flow, Euler. Raises InputError for another kind."""
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
    # Unless told otherwise DDIM clips x0_hat to [-1, 1]; latents are wider, and a config need not say so.
    ddim: Any = DDIMScheduler.from_config(config, clip_sample=False, thresholding=False)
    ddim.set_timesteps(steps)
    return DDIM(ddim)


def dynamic_shift(config: Any, network: Any) -> float:
    """How far the noise levels are shifted for images of this size, where the scheduler leaves that open."""
    from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift

    patches = (network.config.sample_size // network.config.patch_size) ** 2
    lengths = (config.base_image_seq_len, config.max_image_seq_len)
    return calculate_shift(patches, *lengths, config.base_shift, config.max_shift)
