"""Entropy guidance (paper section 2) steers a sampler towards samples that the current learner finds hard."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt64
from torch import Tensor

from dp_base.errors import InputError, warn_once
from dp_base.registry import Registry
from dp_real.data.examples import ExampleArray
from dp_real.guidance.section import GuidanceConfig, is_guided, is_window
from dp_real.runtime.computing import LEARNER_REMEDY, default_modes, eval_mode, require_finite
from dp_real.runtime.distributed import device, slices
from dp_real.runtime.pixels import to_float
from dp_real.runtime.seeds import Stream, rng

Latents = Float[Tensor, "batch *latent"]
"""The variables of a sampler: images, their latents, or vectors."""
Logits = Callable[[Tensor], Tensor]
"""A function of examples [batch, *sample], on the device, to logits [batch, classes]."""
Objective = Callable[[Tensor], Tensor]
"""A function of logits [batch, classes] to one number for each row, which depends on that row alone."""
EVAL_BATCH_SIZE = 1024  # of one forward pass


def entropy(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
    """Predictive entropy in nats, from 0 to ln(classes). A class whose logit is -inf is left out."""
    if logits.shape[-1] < 2:
        raise InputError("a classifier of one logit has an entropy of 0: give it two, or name an objective")
    log_p = logits.log_softmax(-1).clamp_min(torch.finfo(logits.dtype).min)
    return -(log_p.exp() * log_p).sum(-1)


def logits_of(answers: Any) -> Any:
    """The logits that a model answers with, or those within: transformers' attribute, or a key of a dict."""
    return answers.get("logits", answers) if isinstance(answers, Mapping) else getattr(answers, "logits", answers)


def hardness(objective: Objective, logits: Any, guided: int = 0) -> Float[Tensor, " batch"]:
    """The objective of logits [batch, classes]. InputError for other shapes, or another number than `guided` rows."""
    logits = logits_of(logits)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or (guided and len(logits) != guided):
        shape = list(logits.shape) if isinstance(logits, Tensor) else f"of type {type(logits).__name__}"
        raise InputError(f"a classifier gave logits {shape}: should be a tensor [{guided or 'batch'}, classes]")
    values = objective(logits.clone())  # a copy, since it may change them
    if not isinstance(values, Tensor) or tuple(values.shape) != (len(logits),):
        shape = list(values.shape) if isinstance(values, Tensor) else f"a {type(values).__name__}"
        raise InputError(f"the objective gave {shape} for {len(logits)} rows of logits: should be one number a row")
    return values


@torch.no_grad()
def assess(
    logits: Logits, x: ExampleArray, y: Int64[Tensor, " n"], objective: Objective = entropy
) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """Each row's entropy in nats, or `objective`, and whether the prediction is y. This process computes alone."""
    parts = [cpu_logits(logits, x[rows]) for rows in slices(slice(0, len(y)), EVAL_BATCH_SIZE)]
    answers = torch.cat(parts) if parts else torch.empty(0, 2)
    hard = hardness(objective, answers)
    require_finite("the objective's numbers", "mend guidance.objective", [hard])
    return hard, answers.argmax(-1) == y


def cpu_logits(logits: Logits, x: Tensor) -> Float[Tensor, "batch classes"]:
    """The logits of floats, codes or uint8, on the CPU."""
    answers = logits(to_float(x.to(device()))).cpu()
    left = answers.where(answers != -math.inf, answers.amax(-1, True))  # some classes may be left out, but not all
    require_finite("the learner's logits", LEARNER_REMEDY, [left])
    return answers


OBJECTIVES: Registry[Objective] = Registry("objectives", __name__)
OBJECTIVES.register("entropy", entropy, place=1)


@dataclass(frozen=True)
class EntropyGuidance:
    """The direction, strength and steps of a sampler's guidance.

    Parameters
    ----------
    logits
        The learner, a differentiable function of images [batch, ...] to logits [batch, classes], whose rows do not
        depend on each other. A module, also one that a function names, is in evaluation mode then.
    omega
        The strength. A positive one raises the entropy.
    scale
        `relative` moves a sample x after the solver's step by omega·|x|·g/|g|, where g is the gradient of its entropy.
        `raw` adds omega·g to the score instead.
    through
        `unet` differentiates with respect to x_t, through the denoiser; `x0` with respect to x0_hat only, which is
        cheaper.
    window
        The guided part of the trajectory, from 0 (noise) to 1 (image).
    every
        1: each step of the window is guided; 2: each second one. None: six to eight of twelve steps or more,
        and all but the last of fewer.
    objective
        What is raised, by default the entropy: a differentiable function of logits [batch, classes] to one number for
        each row, which depends on that row alone.

    Raises
    ------
    InputError
        If an option is none of these, or a number is out of range.

    References
    ----------
    Paper, eq. 7, with its sign corrected: as printed, the entropy falls.
    """

    reads_estimate: ClassVar[bool] = True
    """Whether `gradient` uses x0_hat. If not, x0_hat need not be decoded."""

    logits: Logits
    omega: float
    scale: Literal["relative", "raw"] = "relative"
    through: Literal["unet", "x0"] = "unet"
    window: tuple[float, float] = (0.0, 1.0)
    every: int | None = 1
    objective: Objective = entropy
    _looked: list[bool] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        omega, every, window = self.omega, self.every, self.window
        if not isinstance(omega, Real) or not math.isfinite(omega):
            raise InputError(f"omega = {omega!r}: should be a finite number")
        if not (every is None or (isinstance(every, Integral) and int(every) >= 1)) or not is_window(window):
            raise InputError(
                f"every = {every}, window = {window}: should be 1 or more, and (begin, end) within 0 and 1"
            )
        for name, known in (("scale", ("relative", "raw")), ("through", ("unet", "x0"))):
            if (value := getattr(self, name)) not in known:
                raise InputError(f"{name} = {value!r}: should be one of {', '.join(known)}")
        for name in ("logits", "objective"):
            if not callable(value := getattr(self, name)):
                raise InputError(f"{name} = {value!r}: should be a function")

    @classmethod
    def from_config(cls, options: GuidanceConfig, logits: Logits, omega: float, **own: Any) -> Self:
        """A configuration's guidance at strength omega; `own` fields override its keys."""
        keys = {name: getattr(options, name) for name in ("scale", "through", "window", "every")}
        if "objective" not in own:
            keys["objective"] = OBJECTIVES[options.objective]
        return cls(logits=logits, omega=omega, **keys | own)

    def guides(self, index: int, steps: int) -> bool:
        return is_guided(index, steps, self.window, self.every)

    def gradient(self, x0_hat: Float[Tensor, "batch *sample"], x: Latents) -> Latents:
        """The gradient of each row's entropy, or other objective, with respect to x.

        x0_hat is the denoised estimate in the learner's form, computed with gradients from x, which may be x0_hat
        itself. Rows do not depend on each other.
        """
        if not (x0_hat.requires_grad and x.requires_grad):
            raise InputError("x0_hat does not depend on x: should be computed from it with gradients")
        at_x0_hat = None
        with default_modes(gradients=True), eval_mode(self.logits):
            values = hardness(self.objective, self.logits(x0_hat), len(x0_hat))
            if values.requires_grad:
                # The sum, not the mean, so that a row's gradient does not depend on the batch size.
                (at_x0_hat,) = torch.autograd.grad(values.sum(), x0_hat, allow_unused=True)
        if at_x0_hat is None:
            raise InputError("the objective of the classifier's logits has no gradient: both should be differentiable")
        if not self._looked and not at_x0_hat.flatten(1).any(1).all():  # only once, since it waits for the GPU
            warn_once(
                "some images stay plain, as their gradient is zero: the classifier is constant, or so certain that "
                "its entropy is rounded to 0"
            )
        self._looked.append(True)
        if x is x0_hat:
            return at_x0_hat
        # The rest of the chain may run in half precision, where a confident learner's tiny gradient would underflow. So
        # each row is scaled to a length of 0.5 to 1, and back afterwards, by a power of two, which is exact.
        rows = at_x0_hat.flatten(1)
        size = _power_of_two(rows)
        (scaled,) = torch.autograd.grad(x0_hat, x, (rows / size).view_as(x0_hat))
        return (scaled.flatten(1) * size).view_as(x)

    def move(self, x: Latents, gradient: Latents) -> Latents:
        """For scale = "relative": x, each row moved along its gradient by omega times its norm."""
        # Dividing by the largest entry first keeps the squares of a confident learner's tiny gradient from
        # underflowing.
        rows = gradient.flatten(1)
        rows = rows / rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
        unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
        length = self.omega * x.flatten(1).norm(dim=1, keepdim=True)
        return x + (length * unit).view_as(x)

    def for_rows(self, rows: slice) -> Self:
        """The guidance of these rows of a batch."""
        return self


@dataclass(frozen=True, kw_only=True)
class RandomGuidance(EntropyGuidance):
    """Guidance of equal length in random directions, for comparison; `logits` is not used.

    It needs no gradient; through = "x0" saves the denoiser's.
    """

    reads_estimate: ClassVar[bool] = False

    seeds: UInt64[np.ndarray, " batch"]

    @cached_property
    def _draws(self) -> list[np.random.Generator]:
        return [rng(int(seed), Stream.OMEGA) for seed in self.seeds]

    def gradient(self, x0_hat: Float[Tensor, "batch *sample"], x: Latents) -> Latents:
        """Standard normal noise, different at each call."""
        return torch.from_numpy(np.stack([draw.standard_normal(x.shape[1:], np.float32) for draw in self._draws])).to(x)

    def for_rows(self, rows: slice) -> Self:
        """These rows' guidance, from the first directions on."""
        return replace(self, seeds=self.seeds[rows])


def _power_of_two(rows: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch 1"]:
    """The power of two above each row's length, computed without squaring small entries."""
    tiny = torch.finfo(rows.dtype).tiny
    largest = rows.abs().amax(1, keepdim=True).clamp_min(tiny)
    length = (largest * (rows / largest).norm(dim=1, keepdim=True)).clamp_min(tiny)
    return length / torch.frexp(length).mantissa


def identity(x: Tensor) -> Tensor:
    """The decoder of models that denoise in the learner's own space."""
    return x


@torch.no_grad()
def sample(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    scheduler: Any,
    x: Latents,
    *,
    guidance: EntropyGuidance | None = None,
    decode: Callable[[Tensor], Tensor] = identity,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Latents:
    """Turn standard normal noise into samples by the steps of a DDIMScheduler (paper eq. 4).

    `denoiser(x_t, t)` returns what the scheduler expects, classifier-free guidance included. `decode` maps x0_hat to
    what guidance.logits takes; `callback` gets each step's index and x0_hat (paper Fig. 8).
    """
    times = scheduler.timesteps.tolist()
    for index, t in enumerate(scheduler.timesteps.to(x.device)):
        if guidance is None or not guidance.guides(index, len(times)):
            x, x0_hat = scheduler.step(denoiser(x, t), times[index], x, return_dict=False)
        else:
            through_denoiser = guidance.through == "unet"
            with torch.enable_grad():
                leaf = x.detach().requires_grad_(through_denoiser)
                with torch.set_grad_enabled(through_denoiser):
                    output = denoiser(leaf, t)
                    _, x0_hat = scheduler.step(output, times[index], leaf, return_dict=False)
                at = leaf if through_denoiser else x0_hat.requires_grad_()
                gradient = guidance.gradient(decode(x0_hat) if guidance.reads_estimate else x0_hat, at)
            output = output.detach()
            if guidance.scale == "raw":
                output = raise_score(scheduler, times[index], output, guidance.omega * gradient)
            x, x0_hat = scheduler.step(output, times[index], x, return_dict=False)
            if guidance.scale == "relative":
                x = guidance.move(x, gradient)
        if callback:
            callback(index, x0_hat)
    return x


def raise_score(scheduler: Any, t: int, output: Latents, by: Latents) -> Latents:
    """The denoiser's output as if the score, -noise/sigma, had `by` added (paper eq. 7, with its sign corrected)."""
    alpha_bar = scheduler.alphas_cumprod[t].item()  # the schedule stays on the CPU, so that no step waits for a GPU
    a = alpha_bar**0.5
    sigma = (1 - alpha_bar) ** 0.5
    if a == 0:
        return output
    factors = {"epsilon": -sigma, "v_prediction": -sigma / a, "sample": sigma**2 / a}
    return output + factors[scheduler.config["prediction_type"]] * by
