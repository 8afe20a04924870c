"""What the practice loop asks of its parts: a new domain is a file that answers one of these."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from dp_real.examples import Space
from dp_real.guidance.entropy import EntropyGuidance


class Generator(Space, Protocol):
    """Draws samples of given classes, guided or not."""

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """[B, *sample_shape] float32 for labels int64 [B], seeds uint64 [B] (dp_real.runtime.seeds.row_noise).

        Row i is a function of labels[i], seeds[i] and the guidance; the other rows change it by rounding only.
        """
        ...

    def denoising_error(self, x: Tensor, labels: Tensor, seeds: np.ndarray, level: float) -> Tensor:
        """How badly samples x fit classes int64 [B]: [B], the mean squared error of the denoiser told the class.

        x is noised up to a level, 0 no noise, 1 noise only. The noise is a function of the row's seed, and not the
        noise that `sample` starts from; there is no classifier-free guidance.
        """
        ...

    def rest(self) -> None:
        """Free the device for the learner, if the configuration asks for it: no samples are wanted for a while."""
        ...


class Learner(Protocol):
    """Trains on batches and answers logits."""

    @property
    def learning_rate(self) -> float:
        """The rate that the next step takes."""
        ...

    def logits(self, x: Tensor) -> Tensor:
        """[B, K] in evaluation mode, differentiable in x [B, *sample_shape]; rows do not influence each other."""
        ...

    def train_step(self, x: Tensor, y: Tensor) -> None:
        """One optimizer step on a batch; x float32, or uint8 as dp_real.runtime.pixels has images."""
        ...

    def row_flops(self, sample_shape: Sequence[int]) -> int:
        """FLOPs of one row of a training step, forward and backward, by dp_real.runtime.flops; 0: none are counted."""
        ...

    def drain_loss(self) -> float:
        """Mean training loss since the last call."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, flat."""
        ...

    def load_tensors(self, state: dict[str, Tensor], step: int) -> None:
        """Continue from `tensors()` as they were after `step` training steps."""
        ...

    def finish_at(self, last_step: int) -> None:
        """Let the schedule end there; its cool-down keeps its length."""
        ...

    def save(self, folder: Path) -> None:
        """Write what others need to use the trained learner."""
        ...

    def load(self, folder: Path) -> None:
        """Answer as the learner that was saved there."""
        ...
