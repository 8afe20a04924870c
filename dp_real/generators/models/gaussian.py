"""The generator whose score is known exactly: x ~ N(0, I_d), y = 1[x_0 > 0], the theory's own data (paper section 4).

The theory's w0 is the first axis. Nothing is lost by that: rotating the data rotates a linear learner with them.
"""

import math

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from dp_real.guidance.entropy import EntropyGuidance
from dp_real.guidance.sampler import Denoiser, denoising_error, sample
from dp_real.guidance.solvers import DDIM
from dp_real.runtime.seeds import row_noise


def posterior_mean(x: Tensor, alpha_bar: Tensor, sign: Tensor, guidance_scale: float = 1.0) -> Tensor:
    """E[x0 | x_t, class], exact, [B, d] like x_t; sign float64 [B] is that of x_0 in the class of each row.

    Without the class, x0 given x_t is N(√alpha_bar x_t, (1 - alpha_bar) I). The class cuts the first component off at
    0, which moves its mean by σ pdf(z)/cdf(z), z = sign·mean/σ. Classifier-free guidance stretches just that move.
    """
    mean = alpha_bar.sqrt() * x
    sigma = (1 - alpha_bar.double()).sqrt()
    z = sign * mean[:, 0].double() / sigma
    # pdf/cdf through logarithms: the cdf underflows at z = -38, where the ratio is just -z. In double precision, since
    # for z < 0 mean and move all but cancel.
    move = sign * sigma * torch.exp(-(z**2) / 2 - torch.special.log_ndtr(z)) / math.sqrt(2 * math.pi)
    first = mean[:, 0].double() + guidance_scale * move
    return torch.cat([first.to(x.dtype).unsqueeze(1), mean[:, 1:]], dim=1)


class GaussianGenerator:
    """Samples of either class under DDIM with the exact posterior mean. The only error is that of the discretisation:
    DDIM shrinks a Gaussian by the cosine of each step it takes along the noise schedule, to 0.96 after 30 steps.
    """

    n_classes = 2

    def __init__(self, dimension: int, steps: int, guidance_scale: float = 1.0) -> None:
        self.sample_shape = (dimension,)
        self.guidance_scale = guidance_scale
        scheduler = DDIMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="sample",
            timestep_spacing="trailing",
            clip_sample=False,
        )
        scheduler.set_timesteps(steps)
        self.solver = DDIM(scheduler)

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """See Generator."""
        return self.from_noise(row_noise(seeds, self.sample_shape), labels, guidance)

    def from_noise(self, x: Tensor, labels: Tensor, guidance: EntropyGuidance | None = None) -> Tensor:
        """The sampler as a map: noise [B, any d] to samples of the classes int64 [B]."""
        return sample(self._denoiser(labels, self.guidance_scale), self.solver, x, guidance=guidance)

    def denoising_error(self, x: Tensor, labels: Tensor, seeds: np.ndarray, level: float) -> Tensor:
        """See Generator; the error is that of x0_hat."""
        return denoising_error(self._denoiser(labels), self.solver, x, row_noise(~seeds, x.shape[1:]), level)

    def rest(self) -> None:
        """See Generator; it is small and stays."""

    def _denoiser(self, labels: Tensor, guidance_scale: float = 1.0) -> Denoiser:
        sign = 2.0 * labels.double() - 1
        alpha_bar = self.solver.scheduler.alphas_cumprod
        return lambda x, t: posterior_mean(x, alpha_bar[t], sign, guidance_scale)
