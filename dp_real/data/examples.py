"""Labelled examples, in memory or read on demand, and a task's sets of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dp_base.errors import Finding, InputError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32
    from torch import Tensor

BOUND = 1.01  # of images' values in [-1, 1], with the rounding of half precision


def is_picture(shape: Sequence[int]) -> bool:
    """Whether an example of this shape is a grey or colour image, which one can look at."""
    return len(shape) == 3 and shape[0] in (1, 3)


@dataclass(frozen=True)
class Task:
    """The classes to learn, and the space of the examples."""

    sample_shape: tuple[int, ...]  # of one example
    classes: tuple[str, ...]  # their names, in the order of the labels
    definitions: tuple[str, ...] = ()  # one for each class, for prompts, or empty; (): none
    synonyms: tuple[str, ...] = ()  # likewise
    resize: int = 0  # of images to validate or test, the shorter side before the middle is cropped; 0: the sample's

    def __post_init__(self) -> None:
        if len(self.sample_shape) == 3 and self.sample_shape[0] not in (1, 3) and self.sample_shape[2] in (1, 3):
            raise InputError(
                f"examples of shape {[*self.sample_shape]}: images should be [channels, height, width], as by "
                "x.permute(0, 3, 1, 2)"
            )

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def has_pictures(self) -> bool:
        return is_picture(self.sample_shape)


class ExampleArray(Protocol):
    """An array [n, *sample_shape], in memory or not: a tensor, image files, or a pool's examples.

    Values are float32, uint8 as in dp_real.runtime.pixels, or int32 if they are codes.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, *sample_shape]."""
        ...

    def __getitem__(self, rows: slice, /) -> "Tensor": ...


class ExampleSet(Protocol):
    """Examples x with labels y, to evaluate on."""

    @property
    def x(self) -> ExampleArray: ...

    @property
    def y(self) -> "Tensor":
        """int64 [n]."""
        ...


class NearExamples(Protocol):
    """A growing set that finds near-duplicates of its examples."""

    def values(self, x: ExampleArray, /) -> list[Any]:
        """What the pool's column stores of the examples, and `add` takes."""
        ...

    def add(self, values: Sequence[Any], which: Literal["all", "unlike", "none"] = "all", /) -> "np.ndarray":
        """Whether each is a near-duplicate of an earlier one, bool [n]. All, the others or none are added."""
        ...


class TrainingExamples(Protocol):
    """An ExampleSet of tensors to train on, read on first use at the latest."""

    @property
    def x(self) -> "Tensor":
        """float32 [n, *sample_shape], images in [-1, 1]; or codes, int32."""
        ...

    @property
    def y(self) -> "Tensor":
        """int64 [n]."""
        ...

    def fingerprint(self) -> list[str]:
        """Hashes of the examples, whatever their place."""
        ...


@dataclass(frozen=True)
class Examples:
    """TrainingExamples in memory."""

    x: "Tensor"
    y: "Tensor"

    def fingerprint(self) -> list[str]:
        from dp_real.runtime.cache import fingerprints

        return fingerprints(self.x, self.y)


@dataclass(frozen=True)
class RealData:
    """Sets of real examples of one task. Learners train on `few` alone (paper section 1), but for the arm `real`."""

    task: Task
    train: TrainingExamples | None  # they train a generator, or the learner of the arm `real`
    validation: ExampleSet
    test: ExampleSet
    sets: Mapping[str, ExampleSet] = field(default_factory=dict)  # evaluated when a run ends; may lack classes
    few: ExampleSet | None = None  # validation examples that are trained on beside generated ones (`with_few`)


@dataclass(frozen=True)
class SetStatus(Finding):
    """What is known of an unread set: its role in a run, and its folder, file or place on the hub."""

    images: int | None = None  # their number; None: unknown
    needed: bool = True  # whether a run stops without it
    examples: ExampleSet | None = field(default=None, compare=False, repr=False)  # if it can be checked


def taken(x: ExampleArray, rows: Iterable[int]) -> "Tensor":
    """These rows of an array, at least one."""
    import torch

    return torch.cat([x[row : row + 1] for row in rows])


def as_numbers(samples: Any, shape: tuple[int, ...], giver: str) -> 'Float32[Tensor, "batch *sample"]':
    """Check a function's samples of `shape`, images in [-1, 1]. An InputError begins with `giver`."""
    import numpy as np
    import torch

    if not isinstance(samples, np.ndarray | torch.Tensor):
        raise InputError(f"{giver} gave a {type(samples).__name__}: should be an array of numpy or torch")
    if tuple(samples.shape) != shape:
        raise InputError(f"{giver} gave shape {[*samples.shape]} for {shape[0]} labels: should be {[*shape]}")
    if np.ma.is_masked(samples):
        raise InputError(f"{giver} gave masked values: should be numbers, all of them")
    if isinstance(samples, np.ndarray) and samples.dtype.kind == "f":
        samples = torch.from_numpy(samples.astype(np.float32))
    if not isinstance(samples, torch.Tensor) or not samples.is_floating_point():
        raise InputError(f"{giver} gave {samples.dtype}: should be floats, images in [-1, 1]")
    x = samples.detach().to("cpu", torch.float32, copy=True)
    beyond = x[x.isfinite() & (x.abs() > BOUND)] if len(shape) == 4 else x[:0]  # others are redrawn later
    if len(beyond):
        raise InputError(f"{giver} gave values from {x.min():g} to {x.max():g}: should be in [-1, 1]")
    return x
