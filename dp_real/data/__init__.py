"""Sources of real data, a file each: its configuration section, what is known without loading it, and its loader.

Code that several sources share is in `sets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from dp_base.progress import Progress, silent
from dp_base.registry import Registry
from dp_real.sections import Section

if TYPE_CHECKING:
    from dp_real.examples import ExampleSet, RealData, SetStatus, Task


class DataConfig(Section):
    """Base of the [data] sections. The key `source` says which.

    Every source also has `split`, the seed of all that is random about it: which set an image goes to, and the training
    of a generator on it.
    """

    if TYPE_CHECKING:
        source: Any  # str, a literal in each kind
        split: int

    note: ClassVar[str] = ""  # a warning that is printed before a run
    text: ClassVar[bool] = False  # examples are texts (dp_real.text.codes), of shape [most characters]

    @property
    def task(self) -> Task:
        """Shape and classes, without loading the examples. Raises MissingError if only a missing folder tells them."""
        raise NotImplementedError

    def resolved(self) -> Self:
        """This section with what else only a folder would tell, for a run's record. Raises as `task` does."""
        return self

    @property
    def has_training_examples(self) -> bool:
        """Whether there are real examples to train a generator on."""
        return True

    def prepare(self, progress: Progress = silent) -> None:
        """Make what `load` reads, if it is made here on first use, and show the progress. Raises as `load` does."""

    def load(self) -> RealData:
        """Load the real examples.

        Raises MissingError if they are not there, InputError if they are broken or do not fit. Both say what to do.
        """
        raise NotImplementedError

    def describe(self) -> list[SetStatus]:
        """The status of each set that the section names, in order. Decodes no image and fetches nothing."""
        return []

    def read_set(self, name: str, where: str) -> ExampleSet:
        """Read a further set of images for the task. `where` is written as dp_real.data.sets.places explains.

        Raises MissingError if it is not there, InputError if it is broken or not a set of this task's classes.
        """
        from dp_real.data.sets.class_names import own_classes
        from dp_real.data.sets.places import locate, read_set

        return read_set(locate(where), own_classes(self.task.classes), self.task.sample_shape, needed=(), keep=False)


DATA: Registry[type[DataConfig]] = Registry("data", "dp_real.data")
