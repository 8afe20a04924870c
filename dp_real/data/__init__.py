"""Sources of real data, each a module with its configuration section."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from dp_base.registry import Registry
from dp_real.data.sets.class_names import Classes, user_classes
from dp_real.data.sets.places import Located, locate
from dp_real.runtime.section import CountOrZero, Section

if TYPE_CHECKING:
    from torch import Tensor

    from dp_real.data.examples import ExampleSet, NearExamples, RealData, SetStatus, Task


class DataConfig(Section):
    """Base of the [data] sections; the key `source` selects one.

    Every source also has a key `split`, the seed that divides its examples into sets and trains a generator on them.
    """

    if TYPE_CHECKING:
        source: Any  # str, a literal in each kind
        split: int

    note: ClassVar[str] = ""  # a warning that is printed before a run
    modality: ClassVar[str] = "array"  # array (images, vectors) or text; the generator and the learner must fit
    storages: ClassVar[tuple[str, ...]] = ("float32", "uint8", "jpeg")  # values of pool.storage that can hold them
    pipeline_tag: ClassVar[str] = "image-classification"  # the task of a trained learner, as the hub calls it

    real_per_class: CountOrZero = Field(
        default=0,
        description="validation examples of each class to train on, beside generated ones. A run that adds samples "
        "trains on half of them and watches the other half; one that adds none trains on all and is "
        "validated on the rest",
    )

    @property
    def task(self) -> "Task":
        """The task, without loading examples. MissingError if its classes are in a missing folder."""
        raise NotImplementedError

    def resolved(self) -> Self:
        """A copy for a run's record, with values that otherwise only a folder shows."""
        return self

    @property
    def has_training_examples(self) -> bool:
        return True

    def load(self) -> "RealData":
        """Raises MissingError if examples are missing, InputError if broken or unfit."""
        raise NotImplementedError

    def describe(self) -> "list[SetStatus]":
        """The status of each set; nothing is decoded or fetched."""
        return []

    def near_duplicates(self, similarity: float) -> "NearExamples | None":
        """An empty set that finds examples of at least this similarity (1: equal); None: there is no measure."""
        return None

    def as_samples(self, samples: Any, count: int, giver: str) -> "Tensor":
        """Check samples of a user's function for `count` labels. An InputError begins with `giver`."""
        from dp_real.data.examples import as_numbers

        return as_numbers(samples, (count, *self.task.sample_shape), giver)

    def read_set(self, name: str, where: str) -> "ExampleSet":
        """Read a further set for the task; for `where` see dp_real.data.sets.places.

        Raises MissingError if it is missing, InputError if it is broken or has other classes.
        """
        return self.read(locate(where), user_classes(self.task.classes))

    def read(
        self, located: Located, classes: Classes, needed: Collection[int] = (), keep: bool = False
    ) -> "ExampleSet":
        """Read a set that must have the labels `needed`; with `keep` it may stay in memory."""
        from dp_real.data.sets.images import read_set

        task = self.task
        return read_set(located, classes, task.sample_shape, needed, keep, task.resize)


DATA: Registry[type[DataConfig]] = Registry("data", "dp_real.data")
