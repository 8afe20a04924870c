"""Entropy guidance in a scheduler's steps, for pipelines of diffusers that run their own loop.

Only the scheduler's step knows x0_hat. Guidance makes the trajectory jump, so a multistep solver restarts at its lowest
order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any

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

from dp_base.errors import InputError, warn_once
from dp_real.guidance.entropy import EntropyGuidance

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
FLOW: Any = (FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler)  # straight on to the last sigma
PNDM: Any = PNDMScheduler  # takes its first step twice
KNOWN: Any = (*RETURN_ESTIMATE, *MULTISTEP, *FLOW, PNDM)


@dataclass
class GuidanceState:
    """The state that guided steps share, those of a scheduler's copies included.

    `gradient` is the guidance's at x0_hat, float32 in the latents' own scale.
    """

    guidance: EntropyGuidance
    gradient: Callable[[Tensor], Tensor]
    first: int | None = None  # the index of the first step that is executed
    is_only: bool = False  # whether that is the only step
    guided: int = 0

    def __post_init__(self) -> None:
        if (self.guidance.through, self.guidance.scale) != ("x0", "relative"):
            raise InputError("a pipeline's scheduler guides with through = 'x0' and scale = 'relative' only")

    def guides(self, scheduler: Any, timestep: Any) -> bool:
        """Whether to guide the step just taken; never the last of several."""
        index, steps = _place(scheduler, timestep, self.first)
        if self.first is None:
            self.first, self.is_only = index, index == steps - 1
        guides = self.is_only or (_at_end_of_step(scheduler) and self.guidance.guides(index, steps))
        self.guided += guides
        if index == steps - 1:
            self.warn_if_unguided()
        return guides

    def warn_if_unguided(self) -> None:
        """Warn of a call in which no step was guided."""
        if not self.guided:
            window, every = self.guidance.window, self.guidance.every
            taken = f"window = {window} and every = {every} select none of the executed steps, or only the last"
            warn_once(f"no step was guided: {'its scheduler took none' if self.first is None else taken}")


class GuidedStep:
    """A scheduler's step, guided, which its `step` is until `end_guidance`.

    The scheduler keeps its class, by which pipelines tell it, and panoramas copy its state alone.
    """

    def __init__(self, scheduler: Any, guiding: GuidanceState) -> None:
        self.scheduler, self.guiding, self.own = scheduler, guiding, scheduler.step
        update_wrapper(self, self.own)  # pipelines inspect its parameters

    def __deepcopy__(self, memo: dict[int, Any]) -> "GuidedStep":
        return GuidedStep(memo[id(self.scheduler)], self.guiding) if id(self.scheduler) in memo else self

    def __call__(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **options: Any) -> Any:
        scheduler, guiding = self.scheduler, self.guiding
        result = self.own(model_output, timestep, sample, *args, **options)
        if not guiding.guides(scheduler, timestep):
            return result
        gradient = guiding.gradient(_estimate(scheduler, model_output, timestep, sample, result))
        _restart(scheduler)

        def moved(x: Tensor) -> Tensor:
            return guiding.guidance.move(x.float(), gradient).to(x)

        if isinstance(result, tuple):
            next_sample, *others = result
            if guiding.is_only:  # some pipelines decode the last x0_hat instead of the last sample
                others = [moved(other) for other in others]
            return (moved(next_sample), *others)
        result.prev_sample = moved(result.prev_sample)
        return result


def guide_steps(scheduler: Any, guiding: GuidanceState) -> None:
    """Guide a scheduler's steps until `end_guidance`."""
    check_scheduler(scheduler)
    end_guidance(scheduler)
    scheduler.step = GuidedStep(scheduler, guiding)


def end_guidance(scheduler: Any) -> None:
    """Undo `guide_steps`, if it was called."""
    if isinstance(scheduler.step, GuidedStep):
        own = vars(scheduler).pop("step").own
        if own != scheduler.step:  # the caller's program has replaced it
            scheduler.step = own


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


def _place(scheduler: Any, timestep: Any, first: int | None) -> tuple[int, int]:
    """The index of the step just taken, or half taken by Heun's method, and the number of steps."""
    steps = len(scheduler.timesteps)
    if hasattr(scheduler, "step_index"):  # Heun's lists times twice, SCM's one more, and LCM's may omit some
        return (scheduler.step_index - 1) // scheduler.order, min(steps, scheduler.num_inference_steps)
    if isinstance(scheduler, PNDM) and first is not None:  # it lists its second time twice
        return first + max(0, scheduler.counter - 2), scheduler.num_inference_steps
    index = int((scheduler.timesteps == timestep).nonzero()[0])
    return index, scheduler.num_inference_steps if isinstance(scheduler, PNDM) else steps


def _at_end_of_step(scheduler: Any) -> bool:
    """Whether the step is complete. If not, the next call corrects it."""
    if isinstance(scheduler, PNDM):
        return scheduler.counter != 1
    return getattr(scheduler, "state_in_first_order", True)


def _estimate(scheduler: Any, output: Tensor, timestep: Any, sample: Tensor, result: Any) -> Tensor:
    """x0_hat in the latents' own scale."""
    if isinstance(scheduler, RETURN_ESTIMATE):
        return result[1] / scheduler.config.get("sigma_data", 1)  # SCM scales its estimate by it
    if isinstance(scheduler, MULTISTEP):
        return scheduler.model_outputs[-1]
    if isinstance(scheduler, FLOW):
        left = scheduler.sigmas[-1] - scheduler.sigmas[scheduler.step_index - 1]  # if inverted, the last is 1
        return sample.float() + left * output.float()
    alpha_bar = scheduler.alphas_cumprod[timestep]
    x_t = sample.float()
    if scheduler.config["prediction_type"] == "v_prediction":
        return alpha_bar.sqrt() * x_t - (1 - alpha_bar).sqrt() * output.float()
    return (x_t - (1 - alpha_bar).sqrt() * output.float()) / alpha_bar.sqrt()


def _restart(scheduler: Any) -> None:
    """Forget the steps before a jump. PNDM's lowest order is two, except at its first step."""
    if isinstance(scheduler, MULTISTEP):
        scheduler.lower_order_nums = 0
    if hasattr(scheduler, "last_sample"):  # of UniPC
        scheduler.last_sample = None
    if isinstance(scheduler, PNDM):
        scheduler.ets = scheduler.ets[-1:]
