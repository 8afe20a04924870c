"""Solvers, each a noise schedule and its sampling steps: DDIM (paper eq. 4), and Euler for flow matching."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


class Solver(Protocol):
    """A noise schedule, x_t = a x0 + sigma noise, and the sampling steps from noise to x0."""

    @property
    def timesteps(self) -> Tensor:
        """The timestep [steps] that the denoiser is given at each step."""
        ...

    def step(self, output: Tensor, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next x and the estimate x0_hat, given the denoiser's output at step `index`."""
        ...

    def raise_score(self, output: Tensor, by: Tensor, index: int) -> Tensor:
        """The denoiser's output if its score, -noise/sigma, had `by` added to it (paper eq. 7 with its sign mended).

        Unchanged if x_t is noise only (a = 0).
        """
        ...


@dataclass(frozen=True)
class DDIM:
    """DDIM for diffusion. The denoiser predicts what scheduler.config.prediction_type names."""

    scheduler: Any  # a DDIMScheduler whose timesteps are set

    @property
    def timesteps(self) -> Tensor:
        """See Solver."""
        return self.scheduler.timesteps

    @property
    def _kind(self) -> str:
        return self.scheduler.config["prediction_type"]

    def _level(self, t: int) -> tuple[float, float]:
        """a and sigma at a timestep. The schedule stays on the CPU: a GPU would be waited for."""
        alpha_bar = self.scheduler.alphas_cumprod[t].item()
        return alpha_bar**0.5, (1 - alpha_bar) ** 0.5

    def step(self, output: Tensor, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """See Solver."""
        return self.scheduler.step(output, int(self.timesteps[index]), x, return_dict=False)

    def raise_score(self, output: Tensor, by: Tensor, index: int) -> Tensor:
        """See Solver."""
        a, sigma = self._level(int(self.timesteps[index]))
        if a == 0:
            return output
        return output + {"epsilon": -sigma, "v_prediction": -sigma / a, "sample": sigma**2 / a}[self._kind] * by


@dataclass(frozen=True)
class FlowEuler:
    """Euler for flow matching, a = 1 - sigma. The denoiser predicts v = noise - x0, and x0_hat = x_t - sigma v."""

    scheduler: Any  # a FlowMatchEulerDiscreteScheduler whose timesteps are set

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
