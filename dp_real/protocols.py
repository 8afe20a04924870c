"""The protocols of the practice loop's parts. A new domain implements them; the loop stays as it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from dp_real.examples import Space
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.shares import StepShare


class Generator(Space, Protocol):
    """Draws samples of given classes, guided or not."""

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """Draw samples float32 [B, *sample_shape], on the CPU, for labels int64 [B] and seeds uint64 [B]. Texts: int32.

        Row i is a function of labels[i], seeds[i] and the guidance; other rows change it by rounding only.
        dp_real.runtime.seeds.row_noise turns seeds into noise.
        """
        ...

    def denoising_error(self, x: Tensor, labels: Tensor, seeds: np.ndarray, level: float) -> Tensor:
        """The denoiser's mean squared error [B] on samples x, given the classes int64 [B]. A bad fit has a large error.

        x is noised to a level between 0 (no noise) and 1 (noise only). The noise is a function of the row's seed, but
        differs from the noise that `sample` starts from. There is no classifier-free guidance.
        """
        ...

    def rest(self) -> None:
        """Free the device for the learner, if the configuration asks for it. Called after each round."""
        ...


class LikelihoodGenerator(Generator, Protocol):
    """A generator of a kind that `doubts`: it can tell how likely a class is."""

    def log_posterior(self, x: Tensor) -> Tensor:
        """log p(class | sample) in nats, float64 [B, K], classes being as likely, for samples x [B, *sample_shape]."""
        ...


class AnySize(Generator, Protocol):
    """A generator of images that can be had at any size."""

    def resized(self, sample_shape: tuple[int, ...]) -> Generator:
        """The generator of the same images as [C, h, w]."""
        ...


class Learner(Protocol):
    """Trains on batches and computes logits."""

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        ...

    @property
    def precision(self) -> str:
        """The dtype of the forward pass in training, which is good enough for evaluation, too."""
        ...

    def logits(self, x: Tensor) -> Tensor:
        """Logits [B, K] in evaluation mode, differentiable in x [B, *sample_shape]. Rows are independent.

        A kind with `any_size` also takes larger images here and in `train_step`.
        """
        ...

    def train_step(self, x: Tensor, y: Tensor, share: StepShare | None = None) -> None:
        """One optimizer step on a batch. x: as an ExampleArray has it. y: int64 [B].

        share: which rows of the step these are; it is given if several processes share them. None: all, in each.
        """
        ...

    def row_flops(self, sample_shape: Sequence[int]) -> int:
        """FLOPs of one row of a training step, forward and backward (dp_real.runtime.flops). 0 if not `counted`."""
        ...

    def drain_loss(self) -> float:
        """Mean training loss since the last call."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, as tensors by name."""
        ...

    def load_tensors(self, state: dict[str, Tensor], step: int) -> None:
        """Restore what `tensors()` returned after `step` training steps."""
        ...

    def finish_at(self, last_step: int) -> None:
        """End the learning-rate schedule at `last_step`. The cool-down keeps its length."""
        ...

    def save(self, folder: Path) -> None:
        """Write what others need to use the trained learner."""
        ...

    def load(self, folder: Path) -> None:
        """Restore the learner that `save` wrote there, to compute logits with it."""
        ...
