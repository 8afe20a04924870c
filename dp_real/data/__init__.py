"""Sources of real data, each a module with its configuration section."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from dp_base.progress import Progress, silent
from dp_base.registry import Registry
from dp_real.data.sets.class_names import Classes, own_classes
from dp_real.data.sets.places import Located, locate
from dp_real.runtime.section import CountOrNone, Section

if TYPE_CHECKING:
    from torch import Tensor

    from dp_real.data.examples import ExampleSet, NearExamples, RealData, SetStatus, Task


class DataConfig(Section):
    """The base of the [data] sections. The key `source` says which one it is.

    Every source also has a key `split`, the seed of all that is random: which set an image goes to, and the training of
    a generator on it.
    """

    if TYPE_CHECKING:
        source: Any  # str, a literal in each kind
        split: int

    note: ClassVar[str] = ""  # a warning that is printed before a run
    examples: ClassVar[str] = "numbers"  # what the examples are, which generator and learner must be for, too
    storages: ClassVar[tuple[str, ...]] = ("float32", "uint8", "jpeg")  # the values of pool.storage that keep them
    has_similarity: ClassVar[bool] = False  # whether `near_duplicates` can tell which examples are alike
    pipeline_tag: ClassVar[str] = "image-classification"  # the task of a trained learner, as the hub calls it

    real_per_class: CountOrNone = Field(
        default=0,
        description="so many validation examples of each class are trained on, beside generated ones: half of them by "
        "a run that adds examples, which watches the other half, and all by one that adds none, which is validated on "
        "the rest",
    )

    @property
    def task(self) -> "Task":
        """Known without loading examples; MissingError if only a missing folder tells it."""
        raise NotImplementedError

    def resolved(self) -> Self:
        """With all that otherwise only a folder would tell, for a run's record."""
        return self

    @property
    def has_training_examples(self) -> bool:
        return True

    def prepare(self, progress: Progress = silent) -> None:
        """Make what `load` reads, if it is made on first use."""

    def load(self) -> "RealData":
        """Raises MissingError if examples are missing, InputError if broken or unfit."""
        raise NotImplementedError

    def describe(self) -> "list[SetStatus]":
        """The status of each set; nothing is decoded or fetched."""
        return []

    def near_duplicates(self, similarity: float) -> "NearExamples | None":
        """An empty set that tells which examples are alike to this degree (1: the same); None: no measure."""
        return None

    def as_samples(self, samples: Any, count: int, giver: str) -> "Tensor":
        """A user's function's samples of `count` labels; an InputError begins with `giver`."""
        from dp_real.data.examples import as_numbers

        return as_numbers(samples, (count, *self.task.sample_shape), giver)

    def read_set(self, name: str, where: str) -> "ExampleSet":
        """A further set for the task, `where` as in dp_real.data.sets.places.

        Raises MissingError if it is not there, InputError if it is broken or of other classes.
        """
        return self.read(locate(where), own_classes(self.task.classes))

    def read(
        self, located: Located, classes: Classes, needed: Collection[int] = (), keep: bool = False
    ) -> "ExampleSet":
        """A set with at least the labels `needed`; `keep`: it may stay in memory."""
        from dp_real.data.sets.images import read_set

        task = self.task
        return read_set(located, classes, task.sample_shape, needed, keep, task.resize)


DATA: Registry[type[DataConfig]] = Registry("data", "dp_real.data")
