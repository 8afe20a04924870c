"""A control for entropy guidance: steps of the same length, in random directions."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, UInt64
from torch import Tensor

from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.seeds import Stream, rng
from dp_real.sections import GuidanceConfig


@dataclass(frozen=True, kw_only=True)
class RandomGuidance(EntropyGuidance):
    """Guidance of the same length in random directions, which shows what the direction of entropy guidance is worth.

    `seeds` are those of each row's directions. `logits` is not used.
    """

    reads_estimate: ClassVar[bool] = False

    seeds: UInt64[np.ndarray, " batch"]
    _draws: list[np.random.Generator] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_draws", [rng(int(seed), Stream.OMEGA) for seed in self.seeds])

    @classmethod
    def of_seeds(
        cls,
        options: GuidanceConfig,
        logits: Callable[[Tensor], Tensor],
        omega: Float[Tensor, " batch"],
        seeds: UInt64[np.ndarray, " batch"],
    ) -> Self:
        """The control that a configuration describes. As it needs no gradient, it spares the denoiser's."""
        return cls(
            logits=logits,
            omega=omega,
            scale=options.scale,
            through="x0",
            window=options.window,
            every=options.every,
            seeds=seeds,
        )

    def gradient(
        self, x0_hat: Float[Tensor, "batch *sample"], x: Float[Tensor, "batch *latent"]
    ) -> Float[Tensor, "batch *latent"]:
        """Standard normal noise, new at each call."""
        return torch.from_numpy(np.stack([draw.standard_normal(x.shape[1:], np.float32) for draw in self._draws])).to(x)

    def for_rows(self, rows: slice) -> Self:
        """The directions of these rows start from the first again."""
        return replace(super().for_rows(rows), seeds=self.seeds[rows])
