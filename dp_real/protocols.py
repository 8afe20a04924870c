"""The protocols of the practice loop's parts, which a new domain implements."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, Int64, Shaped, UInt64
from torch import Tensor

from dp_real.data.examples import Task

if TYPE_CHECKING:
    from dp_real.guidance.entropy import EntropyGuidance

Labels = Int64[Tensor, " batch"]
"""The classes to draw, on the CPU."""
Seeds = UInt64[np.ndarray, " batch"]
INEXACT = "a resumed run may not end as an unbroken one"


class Generator(Protocol):
    """Draws samples of given classes, plain or guided."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        ...

    @property
    def n_classes(self) -> int:
        """Labels are 0 to n_classes - 1."""
        ...

    def sample(
        self,
        labels: Labels,
        seeds: Seeds,
        guidance: "EntropyGuidance | None",
    ) -> Float32[Tensor, "batch *sample"] | Int32[Tensor, "batch characters"]:
        """Draw a sample for each label and seed.

        Row i is a function of labels[i], seeds[i] and the guidance. Other rows change it by rounding only.
        dp_real.runtime.seeds.row_noise turns seeds into noise. Without guidance the samples are plain. Labels and
        samples are on the CPU: images in [-1, 1], vectors, or codes as int32.
        """
        ...


class LikelihoodGenerator(Generator, Protocol):
    """A generator whose kind `has_likelihood`: it knows the probability of each class."""

    def log_posterior(self, x: Shaped[Tensor, "batch *sample"]) -> Float64[Tensor, "batch classes"]:
        """log p(class | sample) in nats, on the CPU, under a uniform prior over classes."""
        ...


class AnySize(Generator, Protocol):
    """A generator that can draw images of any size."""

    def resized(self, sample_shape: tuple[int, ...]) -> Generator:
        """A generator of the same images at [channels, height, width]; it may share the weights."""
        ...


class Learner(Protocol):
    """Trains on batches and computes logits."""

    @property
    def task(self) -> Task:
        """The shape of its examples, and its classes."""
        ...

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        ...

    @property
    def precision(self) -> str:
        """The dtype of forward passes in training, good enough for evaluation."""
        ...

    def logits(self, x: Shaped[Tensor, "batch *sample"]) -> Float[Tensor, "batch classes"]:
        """Logits on the learner's device, in evaluation mode, differentiable in x. Rows do not depend on each other.

        A kind with `any_size` also takes larger images here and in `train_step`. Codes are int32.
        """
        ...

    def train_step(self, x: Shaped[Tensor, "batch *sample"], y: Shaped[Tensor, "batch *target"]) -> None:
        """One optimizer step on a batch. Each of several processes passes its own rows.

        x is a slice of an ExampleArray; y are labels, int64, or soft labels [batch, classes].
        """
        ...

    def row_flops(self, sample_shape: Sequence[int]) -> int:
        """FLOPs of one row of a training step, forward and backward; 0: unknown."""
        ...

    def drain_loss(self) -> float:
        """Mean training loss since the last call."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that training changes, by name."""
        ...

    def load_tensors(self, state: dict[str, Tensor], step: int) -> None:
        """Restore what `tensors` returned after `step` training steps."""
        ...

    def finish_at(self, last_step: int) -> None:
        """End the learning-rate schedule at `last_step`. The cool-down keeps its length."""
        ...

    def save(self, folder: Path) -> None:
        """Write what others need to use the trained learner."""
        ...

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote, to compute logits."""
        ...
