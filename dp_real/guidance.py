"""Entropy guidance (paper section 2): push a diffusion sampler towards samples that the current learner finds hard.

Hard means high predictive entropy H, in nats, of the learner on the denoised estimate x0_hat. The strength omega is
per guided step; `relative` measures it in units of the sample's own norm, `raw` is the coefficient of the score.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Predictive entropy in nats, [B] from logits [B, K]; 0 when certain, ln K when uniform."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


@dataclass(frozen=True)
class EntropyGuidance:
    """What to push with, how hard, and at which steps of the sampler.

    logits: differentiable, [B, ...] -> [B, K]; one row must not influence another (eval mode).
    omega: strength, a float or one value a row [B]; positive raises the entropy.
    scale: `relative` adds omega * |x| * g / |g| to the sample, g the gradient of its entropy;
        `raw` subtracts omega * sqrt(1 - alpha_bar) * g from the predicted noise (eq. 7 with its sign mended).
    apply: for `relative`, push `after` the scheduler's step or x_t `before` it.
    through: differentiate with respect to x_t through the denoiser (`unet`), or to x0_hat only (`x0`, cheaper).
    window, every: guide the steps in this fraction of the trajectory (0 noise, 1 image), each `every`-th of them.
    """

    logits: Callable[[Tensor], Tensor]
    omega: float | Tensor
    scale: Literal["relative", "raw"] = "relative"
    apply: Literal["after", "before"] = "after"
    through: Literal["unet", "x0"] = "unet"
    window: tuple[float, float] = (0.0, 1.0)
    every: int = 1

    def guides(self, index: int, steps: int) -> bool:
        """Whether step `index` of `steps` is guided. Never the last: nothing after it could mend the sample."""
        begin, end = (round(edge * steps) for edge in self.window)
        return begin <= index < min(end, steps - 1) and (index - begin) % self.every == 0

    def gradient(self, x0_hat: Tensor, x: Tensor) -> Tensor:
        """Gradient of each row's entropy with respect to x, shaped like x; x0_hat must depend on x."""
        # The sum, not the mean: a row's gradient must not shrink with the batch that it is in.
        return torch.autograd.grad(entropy(self.logits(x0_hat)).sum(), x)[0]

    def push(self, x: Tensor, gradient: Tensor) -> Tensor:
        """`relative`: x moved by omega times its own norm along its gradient, row by row."""
        # Dividing by the largest entry first keeps the square of a confident learner's tiny gradient from underflow.
        rows = gradient.flatten(1)
        rows = rows / rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
        unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
        length = self._omega(x) * x.flatten(1).norm(dim=1, keepdim=True)
        return x + (length * unit).view_as(x)

    def shift_noise(self, output: Tensor, gradient: Tensor, alpha_bar: Tensor, prediction_type: str) -> Tensor:
        """`raw`: eps - omega sqrt(1 - alpha_bar) g, written in terms of what the denoiser predicts."""
        omega = self._omega(gradient).view(-1, *[1] * (gradient.dim() - 1))
        eps_shift = -omega * (1 - alpha_bar).sqrt() * gradient
        match prediction_type:
            case "epsilon":
                return output + eps_shift
            case "v_prediction":
                return output + eps_shift / alpha_bar.sqrt()
            case "sample":
                return output - eps_shift * ((1 - alpha_bar) / alpha_bar).sqrt()
        raise NotImplementedError(f"prediction_type {prediction_type!r}")

    def _omega(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.omega, dtype=x.dtype, device=x.device).expand(len(x)).unsqueeze(1)


@dataclass(frozen=True, kw_only=True)
class RandomGuidance(EntropyGuidance):
    """A control: pushes of the same length in random directions."""

    rng: torch.Generator

    def gradient(self, x0_hat: Tensor, x: Tensor) -> Tensor:
        """Standard normal, shaped like x."""
        return torch.randn(x.shape, generator=self.rng).to(x)


def ascend(guidance: EntropyGuidance, x: Tensor, pushes: int) -> Tensor:
    """A control: the pushes of a whole trajectory, all made on finished samples; images stay within [-1, 1]."""
    for _ in range(pushes):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            gradient = guidance.gradient(leaf, leaf)
        x = guidance.push(x, gradient)
        x = x.clamp(-1, 1) if x.dim() == 4 else x
    return x
