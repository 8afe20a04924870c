"""Kinds of learners, without torch, so that reading a configuration stays quick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from dp_base.registry import Registry
from dp_real.data import DataConfig
from dp_real.sections import PartConfig, TrainingConfig

if TYPE_CHECKING:
    from torch import nn

    from dp_real.examples import Task
    from dp_real.protocols import Learner


class LearnerConfig(PartConfig):
    """The base of the [learner] sections. The key `kind` says which one it is."""

    if TYPE_CHECKING:
        kind: Any  # str, a literal in each kind

    examples: ClassVar[str] = "numbers"  # what it learns (DataConfig.examples)
    library: ClassVar[str | None] = None  # the library whose `from_pretrained` reads what the learner saves

    any_size: ClassVar[bool] = True  # whether it takes images larger than the task's, which a pool may keep
    counted: ClassVar[bool] = True  # whether Learner.row_flops counts

    def network(self, task: Task) -> nn.Module | None:
        """Build the module to train, samples to logits, with weights from torch's random state.

        None: it is no network, or only its weights tell its sizes. Raises InputError for a task that it is not for.
        """
        raise NotImplementedError

    def fresh(self, task: Task, training: TrainingConfig, seed: int) -> Learner:
        """The learner that a run starts from, by default one that trains `network`.

        Raises MissingError if weights are not there, and InputError for a task that it is not for.
        """
        from dp_real.learners.models.network import NetworkLearner

        return NetworkLearner.fresh(self.network, task, training, seed)

    def check(self, training: TrainingConfig, source: DataConfig) -> None:
        """Raise ValueError for settings that this kind cannot be trained with."""


LEARNERS: Registry[type[LearnerConfig]] = Registry("learners", "dp_real.learners")
