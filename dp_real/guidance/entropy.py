"""Entropy guidance (paper section 2): push a diffusion sampler towards samples that the current learner finds hard.

A sample is hard if the learner's predictive entropy H, in nats, is high on the denoised estimate x0_hat. The strength
omega is per guided step: in units of the sample's own norm (`relative`), or the coefficient of ∇H in the score (`raw`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from dp_real.sections import GuidanceConfig, is_guided


def entropy(logits: Tensor) -> Tensor:
    """Predictive entropy in nats, [B] from logits [B, K]; 0 when certain, ln K when uniform."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


@dataclass(frozen=True)
class EntropyGuidance:
    """What to push with, how hard, and at which steps of the sampler.

    logits: differentiable, [B, ...] -> [B, K]; one row must not influence another (eval mode).
    omega: strength, a float or one value per row [B]; positive raises the entropy.
    scale: `relative` adds omega * |x| * g / |g| to the sample after the solver's step, g the gradient of its entropy;
        `raw` adds omega * g to the score (eq. 7 with its sign mended).
    through: differentiate with respect to x_t through the denoiser (`unet`), or to x0_hat only (`x0`, cheaper).
    window, every: guide the steps in this fraction of the trajectory (0 noise, 1 image), each `every`-th of them.
    """

    looks: ClassVar[bool] = True  # whether it looks at x0_hat; if not, x0_hat need not be decoded

    logits: Callable[[Tensor], Tensor]
    omega: float | Tensor
    scale: Literal["relative", "raw"] = "relative"
    through: Literal["unet", "x0"] = "unet"
    window: tuple[float, float] = (0.0, 1.0)
    every: int = 1

    @classmethod
    def of(cls, options: GuidanceConfig, logits: Callable[[Tensor], Tensor], omega: float | Tensor) -> Self:
        """The guidance that a configuration describes, at strength omega."""
        return cls(logits, omega, options.scale, options.through, options.window, options.every)

    def guides(self, index: int, steps: int) -> bool:
        """Whether step `index` of `steps` is guided."""
        return is_guided(index, steps, self.window, self.every)

    def gradient(self, x0_hat: Tensor, x: Tensor) -> Tensor:
        """Gradient of each row's entropy with respect to x, shaped like x; x0_hat must depend on x."""
        # The sum, not the mean: a row's gradient must not shrink with the batch that it is in.
        (at_x0_hat,) = torch.autograd.grad(entropy(self.logits(x0_hat)).sum(), x0_hat)
        if x is x0_hat:
            return at_x0_hat
        # The rest of the chain may run in half precision, where a confident learner's tiny gradient would underflow.
        # So each row is scaled to a length of 0.5 to 1, by a power of two, which is exact, and scaled back afterwards.
        size = _power_of_two(at_x0_hat)
        (scaled,) = torch.autograd.grad(x0_hat, x, at_x0_hat / _like(size, at_x0_hat))
        return scaled * _like(size, scaled)

    def push(self, x: Tensor, gradient: Tensor) -> Tensor:
        """`relative`: x moved by omega times its own norm along its gradient, row by row."""
        # Dividing by the largest entry first keeps the squares of a confident learner's tiny gradient from underflow.
        rows = gradient.flatten(1)
        rows = rows / rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
        unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
        length = self._omega(x) * x.flatten(1).norm(dim=1, keepdim=True)
        return x + (length * unit).view_as(x)

    def weigh(self, gradient: Tensor) -> Tensor:
        """`raw`: omega times the gradient, row by row. It is added to the score."""
        return _like(self._omega(gradient), gradient) * gradient

    def rows(self, rows: slice) -> Self:
        """The guidance for a slice of the batch's rows."""
        return replace(self, omega=self.omega[rows]) if isinstance(self.omega, Tensor) else self

    def _omega(self, x: Tensor) -> Tensor:
        omega = torch.as_tensor(self.omega, dtype=x.dtype)
        return omega.to(x.device, non_blocking=True).expand(len(x)).unsqueeze(1)


def _power_of_two(x: Tensor) -> Tensor:
    """[B, 1]: the power of two above the length of each row of x [B, ...]. No small entry is squared."""
    rows, tiny = x.flatten(1), torch.finfo(x.dtype).tiny
    largest = rows.abs().amax(1, keepdim=True).clamp_min(tiny)
    length = (largest * (rows / largest).norm(dim=1, keepdim=True)).clamp_min(tiny)
    return length / torch.frexp(length).mantissa


def _like(rows: Tensor, x: Tensor) -> Tensor:
    """rows [B, 1] with as many dimensions as x, for broadcasting."""
    return rows.view(-1, *[1] * (x.dim() - 1))
