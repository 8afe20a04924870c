"""Solvers, each a noise schedule and its sampling steps: DDIM (paper eq. 4), and Euler for flow matching."""

from dataclasses import dataclass
from typing import Any, Protocol

from jaxtyping import Float, Shaped
from torch import Tensor


class Solver(Protocol):
    """A noise schedule, x_t = a·x0 + sigma·noise, and the sampling steps from noise to x0."""

    @property
    def timesteps(self) -> Shaped[Tensor, " steps"]:
        """The timestep that the denoiser is given at each step."""
        ...

    def step(
        self, output: Float[Tensor, "batch *latent"], index: int, x: Float[Tensor, "batch *latent"]
    ) -> tuple[Float[Tensor, "batch *latent"], Float[Tensor, "batch *latent"]]:
        """From x_t and what the denoiser said of it to the sample after the step, and the denoised estimate x0_hat."""
        ...

    def noised(
        self, x0: Float[Tensor, "batch *latent"], noise: Float[Tensor, "batch *latent"], index: int
    ) -> Float[Tensor, "batch *latent"]:
        """The sample before a step, x_t = a·x0 + sigma·noise. The noise is standard normal."""
        ...

    def raise_score(
        self, output: Float[Tensor, "batch *latent"], by: Float[Tensor, "batch *latent"], index: int
    ) -> Float[Tensor, "batch *latent"]:
        """What the denoiser would say if its score, -noise/sigma, had `by` added to it.

        This is the paper's eq. 7, with its sign mended. It is unchanged where x_t is noise only (a = 0).
        """
        ...


@dataclass(frozen=True)
class DDIM:
    """DDIM for diffusion (paper eq. 4). The denoiser predicts what scheduler.config.prediction_type names.

    `scheduler` is a DDIMScheduler of diffusers whose timesteps are set.
    """

    scheduler: Any

    @property
    def timesteps(self) -> Shaped[Tensor, " steps"]:
        return self.scheduler.timesteps

    def step(
        self, output: Float[Tensor, "batch *latent"], index: int, x: Float[Tensor, "batch *latent"]
    ) -> tuple[Float[Tensor, "batch *latent"], Float[Tensor, "batch *latent"]]:
        return self.scheduler.step(output, int(self.timesteps[index]), x, return_dict=False)

    def noised(
        self, x0: Float[Tensor, "batch *latent"], noise: Float[Tensor, "batch *latent"], index: int
    ) -> Float[Tensor, "batch *latent"]:
        return self.scheduler.add_noise(x0, noise, self.timesteps[index : index + 1])

    def raise_score(
        self, output: Float[Tensor, "batch *latent"], by: Float[Tensor, "batch *latent"], index: int
    ) -> Float[Tensor, "batch *latent"]:
        # The schedule stays on the CPU: a GPU would be waited for.
        alpha_bar = self.scheduler.alphas_cumprod[int(self.timesteps[index])].item()
        a = alpha_bar**0.5
        sigma = (1 - alpha_bar) ** 0.5
        if a == 0:
            return output
        factors = {"epsilon": -sigma, "v_prediction": -sigma / a, "sample": sigma**2 / a}
        return output + factors[self.scheduler.config["prediction_type"]] * by


@dataclass(frozen=True)
class FlowEuler:
    """Euler for flow matching, where a = 1 - sigma. The denoiser predicts v = noise - x0, and x0_hat = x_t - sigma·v.

    `scheduler` is a FlowMatchEulerDiscreteScheduler of diffusers whose timesteps are set.
    """

    scheduler: Any

    @property
    def timesteps(self) -> Shaped[Tensor, " steps"]:
        return self.scheduler.timesteps

    def step(
        self, output: Float[Tensor, "batch *latent"], index: int, x: Float[Tensor, "batch *latent"]
    ) -> tuple[Float[Tensor, "batch *latent"], Float[Tensor, "batch *latent"]]:
        sigma, next_sigma = self.scheduler.sigmas[index : index + 2].tolist()
        return x + (next_sigma - sigma) * output, x - sigma * output

    def noised(
        self, x0: Float[Tensor, "batch *latent"], noise: Float[Tensor, "batch *latent"], index: int
    ) -> Float[Tensor, "batch *latent"]:
        sigma = self.scheduler.sigmas[index].item()
        return (1 - sigma) * x0 + sigma * noise

    def raise_score(
        self, output: Float[Tensor, "batch *latent"], by: Float[Tensor, "batch *latent"], index: int
    ) -> Float[Tensor, "batch *latent"]:
        sigma = self.scheduler.sigmas[index].item()
        return output if sigma == 1 else output - sigma / (1 - sigma) * by
