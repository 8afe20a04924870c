"""A control for entropy guidance: pushes of the same length, in random directions."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.seeds import Stream, rng


@dataclass(frozen=True, kw_only=True)
class RandomGuidance(EntropyGuidance):
    """A control: pushes of the same length in random directions. seeds: uint64 [B], one for each row's directions."""

    looks: ClassVar[bool] = False

    seeds: np.ndarray
    _draws: list[np.random.Generator] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_draws", [rng(int(seed), Stream.OMEGA) for seed in self.seeds])

    def gradient(self, x0_hat: Tensor, x: Tensor) -> Tensor:
        """Standard normal noise, shaped like x and new at each call."""
        return torch.from_numpy(np.stack([draw.standard_normal(x.shape[1:], np.float32) for draw in self._draws])).to(x)

    def rows(self, rows: slice) -> Self:
        """See EntropyGuidance. The directions of these rows start from the first again."""
        return replace(super().rows(rows), seeds=self.seeds[rows])
