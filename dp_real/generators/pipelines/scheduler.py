"""Entropy guidance in a scheduler's steps, for pipelines of diffusers that run their own loop.

Only the scheduler's step knows x0_hat. Guidance makes the trajectory jump, so a multistep solver starts again at its
lowest order.
"""

import copy
from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    SCMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from dp_base.errors import InputError
from dp_real.guidance import EntropyGuidance

RETURN_ESTIMATE: Any = (  # return x0_hat beside the next sample
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    SCMScheduler,
)
MULTISTEP: Any = (DPMSolverMultistepScheduler, UniPCMultistepScheduler)  # keep the x0_hat of the last steps
FLOW: Any = (FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler)  # x0_hat = x_t - sigma v
PNDM: Any = PNDMScheduler  # takes its first step twice
KNOWN: Any = (*RETURN_ESTIMATE, *MULTISTEP, *FLOW, PNDM)


def guide_steps(
    scheduler: Any,
    guidance: EntropyGuidance,
    decode: Callable[[Tensor], Tensor],
    at_end: Callable[[], None] = lambda: None,
) -> None:
    """Guide the steps but the last, unless it is the only one; `decode` maps x0_hat to what guidance.logits reads."""
    if (guidance.through, guidance.scale) != ("x0", "relative"):
        raise InputError("a pipeline's scheduler guides with through = 'x0' and scale = 'relative' only")
    check_scheduler(scheduler)
    own = type(scheduler).step

    @wraps(own)  # pipelines ask which parameters it takes
    def step(self: Any, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **options: Any) -> Any:
        result = own(self, model_output, timestep, sample, *args, **options)
        index, steps = _place(self, timestep)
        is_guided = steps == 1 or (_at_end_of_step(self) and guidance.guides(index, steps))
        if not is_guided:
            if index == steps - 1:
                at_end()
            return result
        x0_hat = _estimate(self, model_output, timestep, sample, result)
        with torch.inference_mode(False), torch.enable_grad():  # pipelines run without gradients
            leaf = x0_hat.float().clone().requires_grad_()
            gradient = guidance.gradient(decode(leaf) if guidance.reads_estimate else leaf, leaf)
        _restart(self)

        def moved(x: Tensor) -> Tensor:
            return guidance.move(x.float(), gradient).to(x)

        if isinstance(result, tuple):
            next_sample, *others = result
            if steps == 1:  # some pipelines decode the last x0_hat instead of the last sample
                others = [moved(other) for other in others]
            return (moved(next_sample), *others)
        result.prev_sample = moved(result.prev_sample)
        return result

    scheduler.step = MethodType(step, scheduler)  # in a copy of the scheduler, it is the copy's


def plain(scheduler: Any) -> Any:
    """A copy with steps of its own: other pipelines may have the same scheduler."""
    copied = copy.deepcopy(scheduler)
    vars(copied).pop("step", None)
    return copied


def is_guided_scheduler(scheduler: Any) -> bool:
    """Whether `guide_steps` was called for it."""
    return "step" in getattr(scheduler, "__dict__", ())


def check_scheduler(scheduler: Any) -> None:
    """Raise InputError for a scheduler that cannot be guided."""
    name = type(scheduler).__name__
    if not isinstance(scheduler, KNOWN):
        usual = "EulerDiscreteScheduler or DPMSolverMultistepScheduler"
        raise InputError(
            f"{name} cannot be guided; these can: {', '.join(kind.__name__ for kind in KNOWN)}. Most pipelines also "
            f"run with pipe.scheduler = X.from_config(pipe.scheduler.config), X = {usual}"
        )
    predicts_x0 = getattr(scheduler, "predict_x0", scheduler.config.get("algorithm_type", "").endswith("++"))
    if isinstance(scheduler, MULTISTEP) and not predicts_x0:
        raise InputError(f"{name} is set to predict noise; use its algorithm_type 'dpmsolver++', or predict_x0 = true")
    if isinstance(scheduler, PNDM) and not scheduler.config["skip_prk_steps"]:
        raise InputError(f"{name} can be guided with skip_prk_steps = true only")


def _place(scheduler: Any, timestep: Any) -> tuple[int, int]:
    """The index of the step just taken, and the number of steps; Heun's method may be amid it."""
    if isinstance(scheduler, PNDM):  # which lists its second time twice
        if scheduler.counter == 1:
            scheduler.begin = int((scheduler.timesteps == timestep).nonzero()[0])
        return scheduler.begin + max(0, scheduler.counter - 2), scheduler.num_inference_steps
    if hasattr(scheduler, "step_index"):
        return (scheduler.step_index - 1) // scheduler.order, scheduler.num_inference_steps
    return int((scheduler.timesteps == timestep).nonzero()[0]), len(scheduler.timesteps)


def _at_end_of_step(scheduler: Any) -> bool:
    """If not, the next call repairs the step that was just taken."""
    if isinstance(scheduler, PNDM):
        return scheduler.counter != 1
    return getattr(scheduler, "state_in_first_order", True)


def _estimate(scheduler: Any, output: Tensor, timestep: Any, sample: Tensor, result: Any) -> Tensor:
    """x0_hat in the latents' own scale, from what the scheduler converted."""
    if isinstance(scheduler, RETURN_ESTIMATE):
        return result[1] / scheduler.config.get("sigma_data", 1)  # SCM's is scaled by it
    if isinstance(scheduler, MULTISTEP):
        return scheduler.model_outputs[-1]
    if isinstance(scheduler, FLOW):
        return sample.float() - scheduler.sigmas[scheduler.step_index - 1] * output.float()
    alpha_bar = scheduler.alphas_cumprod[timestep]
    x_t = sample.float()
    if scheduler.config["prediction_type"] == "v_prediction":
        return alpha_bar.sqrt() * x_t - (1 - alpha_bar).sqrt() * output.float()
    return (x_t - (1 - alpha_bar).sqrt() * output.float()) / alpha_bar.sqrt()


def _restart(scheduler: Any) -> None:
    """Forget the steps before a jump; PNDM's lowest order is the second, but for its first step."""
    if isinstance(scheduler, MULTISTEP):
        scheduler.lower_order_nums = 0
    if hasattr(scheduler, "last_sample"):  # of UniPC
        scheduler.last_sample = None
    if isinstance(scheduler, PNDM):
        scheduler.ets = scheduler.ets[-1:]
