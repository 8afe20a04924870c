"""What the practice loop asks of its parts: a new domain is a file that answers one of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from dp_real.guidance.entropy import EntropyGuidance

if TYPE_CHECKING:
    from dp_real.loop.practice import State
    from dp_real.pool.pool import Pool


class Space(Protocol):
    """Where examples live: that of a generator's samples is that of the real data."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, in the learner's space."""
        ...

    @property
    def n_classes(self) -> int:
        """Labels are 0 .. n_classes - 1."""
        ...


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
        """Free the device for the learner, where asked to: no samples are wanted for a while."""
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
        """FLOPs of one row of a training step, forward and backward, by runtime.flops; 0 where they do not matter."""
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


@dataclass(frozen=True)
class Images:
    """x: float32 [n, *sample_shape], images in [-1, 1]; y: int64 [n]."""

    x: Tensor
    y: Tensor


class Rows(Protocol):
    """[n, *sample_shape] that need not be in memory at once: a tensor, or dp_real.data.sets.folders.ImageFiles.

    float32, or uint8 as dp_real.runtime.pixels has images.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, rows: slice, /) -> Tensor: ...


class Labelled(Protocol):
    """As Images, for looking at but not for training on."""

    @property
    def x(self) -> Rows: ...
    @property
    def y(self) -> Tensor: ...


@dataclass(frozen=True)
class RealData:
    """Disjoint sets of real examples and the names of their classes; no learner trains on them (paper section 1)."""

    generator: Images | None  # what a small generator is trained on, where one is trained here
    validation: Labelled
    test: Labelled
    classes: tuple[str, ...]
    sets: Mapping[str, Labelled] = field(default_factory=dict)  # for the end; some lack classes

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one example; samples of every generator have it."""
        return tuple(self.validation.x.shape[1:])

    @property
    def n_classes(self) -> int:
        """Labels are 0 .. n_classes - 1."""
        return len(self.classes)


@dataclass(frozen=True)
class SetStatus:
    """A set of real examples: what it is to a run, where it is, how many images it has (None: not known cheaply).

    `problem` says what is wrong or missing and the command or the folder that would provide it; None: it is there.
    """

    name: str
    where: str
    images: int | None
    problem: str | None


class Journal(Protocol):
    """Where a run leaves its traces, and where it hears that it should stop."""

    def evaluation(self, row: dict[str, Any]) -> None: ...
    def addition(self, row: dict[str, Any]) -> None: ...
    def checkpoint(self, state: "State", learner: Learner, pool: "Pool", keep: bool) -> None: ...
    def best(self, learner: Learner) -> None: ...
    def stop_requested(self) -> bool: ...
