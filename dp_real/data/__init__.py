"""Sources of real data. Each is a module with its configuration section, what is known without loading, and its loader.

Code that several sources share is in `sets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from dp_base.progress import Progress, silent
from dp_base.registry import Registry
from dp_real.sections import Section

if TYPE_CHECKING:
    from torch import Tensor

    from dp_real.examples import ExampleSet, NearExamples, RealData, SetStatus, Task


class DataConfig(Section):
    """The base of the [data] sections. The key `source` says which one it is.

    Every source also has a key `split`. It is the seed of all that is random about the data: which set an image goes
    to, and the training of a generator on it.
    """

    if TYPE_CHECKING:
        source: Any  # str, a literal in each kind
        split: int

    note: ClassVar[str] = ""  # a warning that is printed before a run
    examples: ClassVar[str] = "numbers"  # what the examples are, which generator and learner must be for, too
    storages: ClassVar[tuple[str, ...]] = ("float32", "uint8", "jpeg")  # the values of pool.storage that keep them
    has_likeness: ClassVar[bool] = False  # whether `near` can tell which examples are alike
    pipeline_tag: ClassVar[str] = "image-classification"  # the task of a trained learner, as the hub calls it

    @property
    def task(self) -> Task:
        """Raises MissingError if only a missing folder tells it. The examples are not loaded."""
        raise NotImplementedError

    def resolved(self) -> Self:
        """Return this section with all that otherwise only a folder would tell, for a run's record.

        Raises as `task` does.
        """
        return self

    @property
    def has_training_examples(self) -> bool:
        """Whether there are real examples to train a generator on."""
        return True

    def prepare(self, progress: Progress = silent) -> None:
        """Make what `load` reads, if this source is made on first use. Raises as `load` does."""

    def load(self) -> RealData:
        """Raises MissingError if the examples are not there, InputError if they are broken or do not fit.

        Both say what to do.
        """
        raise NotImplementedError

    def describe(self) -> list[SetStatus]:
        """Return the status of each set that the section names, in order. Nothing is decoded or fetched."""
        return []

    def near(self, likeness: float) -> NearExamples | None:
        """Return an empty set that tells which examples are alike to this degree; 1 is the same example.

        None stands for a kind without such a measure.
        """
        return None

    def as_samples(self, given: Any, count: int, giver: str) -> Tensor:
        """Return what a user's function gave for `count` labels as samples.

        Raises InputError, which begins with `giver`, if that is something else.
        """
        from dp_real.examples import as_numbers

        return as_numbers(given, (count, *self.task.sample_shape), giver)

    def read_set(self, name: str, where: str) -> ExampleSet:
        """Read a further set for the task. `where` is written as dp_real.data.sets.places explains.

        Raises MissingError if the set is not there, InputError if it is broken or is no set of this task's classes.
        """
        from dp_real.data.sets.class_names import own_classes
        from dp_real.data.sets.places import locate, read_set

        task = self.task
        return read_set(locate(where), own_classes(task.classes), task.sample_shape, needed=(), keep=False)


DATA: Registry[type[DataConfig]] = Registry("data", "dp_real.data")
