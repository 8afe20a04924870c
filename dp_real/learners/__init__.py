"""Kinds of learners, a file each: its configuration section, what it needs, and how it is built.

These files import no torch, so that commands which only read configurations start quickly. `models` has the learners
themselves.
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
    """Base of the [learner] sections. The key `kind` says which."""

    if TYPE_CHECKING:
        kind: Any  # str, a literal in each kind

    text: ClassVar[bool] = False  # learns texts (dp_real.text.codes)
    library: ClassVar[str | None] = None  # the library whose `from_pretrained` reads what a learner saves

    any_size: ClassVar[bool] = True  # whether it takes images larger than the task's, which a pool may keep
    counted: ClassVar[bool] = True  # whether Learner.row_flops counts

    def network(self, task: Task) -> nn.Module | None:
        """Build the module, [B, *sample_shape] -> logits [B, n_classes]. Draws weights from torch's random state.

        None if the learner is not a network, or if only its weights tell its sizes. Raises InputError for a task that
        it is not made for.
        """
        raise NotImplementedError

    def fresh(self, task: Task, training: TrainingConfig, seed: int) -> Learner:
        """The learner that a run starts from, a function of the seed. By default it trains `network`.

        Raises MissingError if weights are not there, InputError for a task that it is not made for.
        """
        from dp_real.learners.models.network import NetworkLearner

        return NetworkLearner.fresh(self.network, task, training, seed)

    def check(self, training: TrainingConfig, source: DataConfig) -> None:
        """Raise ValueError for settings that this kind cannot be trained with."""

    def weights(self) -> dict[str, str]:
        """The folders or hub ids that it reads, each under the configuration key that names it."""
        return {}


LEARNERS: Registry[type[LearnerConfig]] = Registry("learners", "dp_real.learners")
