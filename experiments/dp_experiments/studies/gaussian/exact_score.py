"""A generator with an exact score, for x ~ N(0, I_d), y = 1[x_0 > 0] (paper section 4).

The direction w0 is the first axis: rotating the data rotates a linear learner with them.
"""

import math

import torch
from jaxtyping import Float, Float32, Float64, Shaped
from torch import Tensor

from dp_real.generators.models.denoiser import make_scheduler
from dp_real.guidance.entropy import EntropyGuidance, sample
from dp_real.protocols import Labels, Seeds
from dp_real.runtime.seeds import row_noise


def posterior_mean(
    x: Float[Tensor, "batch dimension"],
    alpha_bar: Shaped[Tensor, ""],
    sign: Float64[Tensor, " batch"],
    guidance_scale: float = 1.0,
) -> Float[Tensor, "batch dimension"]:
    """The exact E[x0 | x_t = x, class].

    Without the class, x0 is N(√alpha_bar·x_t, (1 - alpha_bar)·I). The class truncates the first component at 0, which
    moves its mean by sign·σ·pdf(z)/cdf(z), z = sign·mean/σ; classifier-free guidance scales this move.
    """
    mean = alpha_bar.sqrt() * x
    sigma = (1 - alpha_bar.double()).sqrt()
    z = sign * mean[:, 0].double() / sigma
    # pdf/cdf by logarithms, because the cdf underflows at z = -38, where the ratio is about 38. In double precision,
    # because mean and move nearly cancel for z < 0.
    move = sign * sigma * torch.exp(-(z**2) / 2 - torch.special.log_ndtr(z)) / math.sqrt(2 * math.pi)
    first = mean[:, 0].double() + guidance_scale * move
    return torch.cat([first.to(x.dtype).unsqueeze(1), mean[:, 1:]], dim=1)


class GaussianGenerator:
    """Samples of either class, by DDIM with the exact posterior mean.

    A step shrinks a Gaussian by the cosine of its angle along the noise schedule: to a standard deviation of 0.96 after
    30.
    """

    n_classes = 2

    def __init__(self, dimension: int, steps: int, guidance_scale: float = 1.0) -> None:
        self.sample_shape = (dimension,)
        self.guidance_scale = guidance_scale
        self.scheduler = make_scheduler("sample")
        self.scheduler.set_timesteps(steps)

    def sample(
        self,
        labels: Labels,
        seeds: Seeds,
        guidance: EntropyGuidance | None,
    ) -> Float32[Tensor, "batch dimension"]:
        return self.from_noise(row_noise(seeds, self.sample_shape), labels, guidance)

    def from_noise(
        self,
        x: Float[Tensor, "batch dimension"],
        labels: Labels,
        guidance: EntropyGuidance | None = None,
    ) -> Float[Tensor, "batch dimension"]:
        sign = 2.0 * labels.double() - 1
        alpha_bar = self.scheduler.alphas_cumprod

        def denoiser(x: Tensor, t: Tensor) -> Tensor:
            return posterior_mean(x, alpha_bar[t], sign, self.guidance_scale)

        return sample(denoiser, self.scheduler, x, guidance=guidance)
