"""Labelled examples: those in memory, those that are read when asked for, and the sets of them that a task has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


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


@dataclass(frozen=True)
class Task:
    """What is learned: examples of sample_shape, and the names of their classes in the order of the labels."""

    sample_shape: tuple[int, ...]
    classes: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """Labels are 0 .. n_classes - 1."""
        return len(self.classes)


class ExampleArray(Protocol):
    """[n, *sample_shape] that need not be in memory at once: a tensor, or image files, or a pool's examples.

    float32, or uint8 as dp_real.runtime.pixels has images.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, *sample_shape]."""
        ...

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Consecutive rows."""
        ...


class ExampleSet(Protocol):
    """Examples x with labels y, int64 [n], for looking at rather than for training on."""

    @property
    def x(self) -> ExampleArray:
        """The examples."""
        ...

    @property
    def y(self) -> Tensor:
        """Their labels, int64 [n]."""
        ...


@dataclass(frozen=True)
class Examples:
    """An ExampleSet in memory. x: float32 [n, *sample_shape], images in [-1, 1]; y: int64 [n]."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class RealData:
    """Disjoint sets of real examples of one task; no learner trains on them (paper section 1)."""

    task: Task
    generator: Examples | None  # what a small generator is trained on, where one is trained here
    validation: ExampleSet
    test: ExampleSet
    sets: Mapping[str, ExampleSet] = field(default_factory=dict)  # for the end; some lack classes


@dataclass(frozen=True)
class SetStatus:
    """A set of real examples: what it is to a run, where it is, how many images it has (None: not known cheaply).

    `problem` says what is wrong or missing and the command or the folder that would provide it; None: it is there.
    """

    name: str
    where: str
    images: int | None
    problem: str | None
