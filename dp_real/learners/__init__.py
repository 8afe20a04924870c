"""Kinds of learners, without torch, so that reading a configuration stays quick."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from dp_base.registry import Registry
from dp_real.data import DataConfig
from dp_real.learners.section import TrainingConfig
from dp_real.runtime.section import ModelPlace, PartConfig

if TYPE_CHECKING:
    from torch import nn

    from dp_real.data.examples import Task
    from dp_real.protocols import Learner


class LearnerConfig(PartConfig):
    """Base of the [learner] sections; the key `kind` selects one."""

    if TYPE_CHECKING:
        kind: Any  # str, a literal in each kind

    modality: ClassVar[str] = "array"  # of examples that it learns (DataConfig.modality)
    library: ClassVar[str | None] = None  # the library whose `from_pretrained` reads what the learner saves

    any_size: ClassVar[bool] = True  # whether it takes larger images than the task's, which a pool may hold
    counted: ClassVar[bool] = True  # whether Learner.row_flops counts

    def network(self, task: "Task") -> "nn.Module | None":
        """The module to train, samples to logits, with weights from torch's random state.

        None: no network, or its sizes are with its weights. Raises InputError if the task does not fit.
        """
        return None

    def fresh(self, task: "Task", training: TrainingConfig, seed: int) -> "Learner":
        """The learner that a run starts from, by default one that trains `network`.

        Raises MissingError without weights, and InputError if the task does not fit.
        """
        from dp_real.learners.models.network import NetworkLearner

        return NetworkLearner.fresh(self.network, task, training, seed)

    def check(self, training: TrainingConfig, source: DataConfig) -> None:
        """Raise ValueError for settings that this kind cannot be trained with."""


Architecture = Annotated[str, Field(description="a fresh model's type, as transformers names it")]


class PretrainedConfig(LearnerConfig):
    """Base of classifiers of transformers: an existing one, or a fresh one of any size."""

    library: ClassVar[str | None] = "transformers"

    kind: Any
    model: ModelPlace | None = Field(
        default=None, description="a folder, or a hub id, which is fetched unless it is in the hub's cache; none: fresh"
    )
    architecture: Architecture
    config: dict[str, Any] = Field(
        default={}, description="a fresh model's sizes as transformers names them, e.g. hidden_size"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model and self.config:
            raise ValueError(f"config is for a fresh model; model = {self.model!r} has its own sizes")
        return self

    def made(self, task: "Task") -> "nn.Module":
        """A fresh model, perhaps on the meta device, where some models fail."""
        raise NotImplementedError

    def known(self, model: str, task: "Task") -> "nn.Module":
        """An existing model, with a fresh last layer if its classes differ."""
        raise NotImplementedError

    def network(self, task: "Task") -> "nn.Module | None":
        """A fresh model; None if there is an existing one."""
        return None if self.model else self.made(task)

    def classifier(self, task: "Task") -> Any:
        """The fresh or existing model; fresh weights are from torch's random state."""
        from dp_real.learners.models.architectures import freeze_unused

        classifier: Any = self.known(self.model, task) if self.model else self.made(task)
        return freeze_unused(classifier, task.sample_shape)

    def fresh(self, task: "Task", training: TrainingConfig, seed: int) -> "Learner":
        from dp_real.learners.models.network import PretrainedLearner

        return PretrainedLearner.fresh(self.classifier, task, training, seed)

    def weights(self) -> dict[str, str]:
        return {"learner.model": self.model} if self.model else {}


LEARNERS: Registry[type[LearnerConfig]] = Registry("learners", "dp_real.learners")
