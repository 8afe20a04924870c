"""Real data. A file of this room is a source: its section of the configuration, what is known of it without loading
it, and its loader. What several sources share is in `sets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from dp_base.registry import Registry
from dp_real.sections import Section

if TYPE_CHECKING:
    from dp_real.examples import ExampleSet, RealData, SetStatus, Task


class DataConfig(Section):
    """Base of the sections [data], told apart by `source`.

    A source also has `split`, the seed of whatever is random about it: which images go where, and the generator that
    is trained on them.
    """

    if TYPE_CHECKING:
        source: Any  # str, a literal in each kind
        split: int

    note: ClassVar[str] = ""  # what a person should know before a run

    @property
    def task(self) -> Task:
        """Shape and classes, without loading the examples. Raises MissingError where only a missing folder knows."""
        raise NotImplementedError

    @property
    def trains(self) -> bool:
        """Whether there are real examples to train a generator on."""
        return True

    def load(self) -> RealData:
        """The real examples. Raises MissingError where they are not there, InputError where they are not as they should
        be; both say what to do.
        """
        raise NotImplementedError

    def describe(self) -> list[SetStatus]:
        """The sets that the section names, in its order; no image is decoded, and nothing is fetched."""
        return []

    def read_set(self, name: str, where: str) -> ExampleSet:
        """A further set of images for the task, named as dp_real.data.sets.places says.

        Raises MissingError if it is not there, InputError for what is no set of this task's classes.
        """
        from dp_real.data.sets.classes import own_classes
        from dp_real.data.sets.places import locate, read_set

        return read_set(locate(where), own_classes(self.task.classes), self.task.sample_shape, needed=(), keep=False)


DATA: Registry[type[DataConfig]] = Registry("data", "dp_real.data")
