"""Learners. A file of this room is a kind: its section of the configuration, what it needs, and what is built of it.

Such a file is quick to import: commands that only read configurations need no torch. `models` has what trains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from dp_base.registry import Registry
from dp_real.data import DataConfig
from dp_real.sections import Section, TrainingConfig

if TYPE_CHECKING:
    from torch import nn

    from dp_real.examples import Task
    from dp_real.protocols import Learner


class LearnerConfig(Section):
    """Base of the sections [learner], told apart by `kind`."""

    if TYPE_CHECKING:
        kind: Any  # str, a literal in each kind

    library: ClassVar[str | None] = None  # whose `from_pretrained` reads what a learner saves

    def network(self, task: Task) -> nn.Module | None:
        """[B, *sample_shape] -> logits [B, n_classes], its weights drawn from torch's random state.

        None where it is no network, or one whose sizes only its weights tell. Raises InputError for a task that it is
        not made for.
        """
        raise NotImplementedError

    def fresh(self, task: Task, training: TrainingConfig, seed: int) -> Learner:
        """The learner that a run starts from, a function of the seed; as it stands here, one that trains `network`.

        Raises MissingError where weights are not there, InputError for a task that it is not made for.
        """
        from dp_real.learners.models.network import NetworkLearner

        return NetworkLearner.fresh(self.network, task, training, seed)

    def check(self, training: TrainingConfig, source: DataConfig) -> None:
        """Raise ValueError for settings that this kind cannot be trained with."""

    def weights(self) -> dict[str, str]:
        """Folders or hub ids that it reads, by the key that names each."""
        return {}


LEARNERS: Registry[type[LearnerConfig]] = Registry("learners", "dp_real.learners")
