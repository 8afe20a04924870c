"""Noise schedules and the steps that lead down them: DDIM (paper eq. 4), and Euler's for a flow."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Solver(Protocol):
    """A noise schedule, x_t = a x0 + sigma noise, and the steps that lead down it."""

    @property
    def timesteps(self) -> Tensor:
        """What the denoiser is told at each step, [steps]."""
        ...

    def step(self, output: Tensor, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """The next x and the estimate x0_hat, from what the denoiser answered at step `index`."""
        ...

    def raise_score(self, output: Tensor, by: Tensor, index: int) -> Tensor:
        """What the denoiser would answer if its score, -noise/sigma, were higher: paper eq. 7 with its sign mended.

        Unchanged where nothing of the sample is left in x_t (a = 0).
        """
        ...

    def noised(self, x0: Tensor, noise: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
        """x_t and t at a level in (0, 1), and the answer that would undo that noise."""
        ...


@dataclass(frozen=True)
class DDIM:
    """Diffusion: the denoiser answers what scheduler.config.prediction_type names."""

    scheduler: Any  # a DDIMScheduler that knows its timesteps

    @property
    def timesteps(self) -> Tensor:
        """See Solver."""
        return self.scheduler.timesteps

    @property
    def _kind(self) -> str:
        return self.scheduler.config["prediction_type"]

    def step(self, output: Tensor, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """See Solver."""
        return self.scheduler.step(output, int(self.timesteps[index]), x, return_dict=False)

    def raise_score(self, output: Tensor, by: Tensor, index: int) -> Tensor:
        """See Solver."""
        alpha_bar = self.scheduler.alphas_cumprod[self.timesteps[index]].item()
        a, sigma = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        if a == 0:
            return output
        return output + {"epsilon": -sigma, "v_prediction": -sigma / a, "sample": sigma**2 / a}[self._kind] * by

    def noised(self, x0: Tensor, noise: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
        """See Solver."""
        t = torch.tensor(round(level * (self.scheduler.config["num_train_timesteps"] - 1)), device=x0.device)
        answers = {"epsilon": noise, "v_prediction": self.scheduler.get_velocity(x0, noise, t), "sample": x0}
        return self.scheduler.add_noise(x0, noise, t), t, answers[self._kind]


@dataclass(frozen=True)
class FlowEuler:
    """Flow matching (a = 1 - sigma): the denoiser answers noise - x0, and x0_hat = x_t - sigma times that."""

    scheduler: Any  # a FlowMatchEulerDiscreteScheduler that knows its timesteps

    @property
    def timesteps(self) -> Tensor:
        """See Solver."""
        return self.scheduler.timesteps

    def step(self, output: Tensor, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """See Solver."""
        sigma, after = self.scheduler.sigmas[index : index + 2].tolist()
        return x + (after - sigma) * output, x - sigma * output

    def raise_score(self, output: Tensor, by: Tensor, index: int) -> Tensor:
        """See Solver."""
        sigma = self.scheduler.sigmas[index].item()
        return output if sigma == 1 else output - sigma / (1 - sigma) * by

    def noised(self, x0: Tensor, noise: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
        """See Solver."""
        t = torch.tensor(level * self.scheduler.config["num_train_timesteps"], device=x0.device)
        return (1 - level) * x0 + level * noise, t, noise - x0
