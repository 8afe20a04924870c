"""Image classifiers of transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from dp_real.learners import LEARNERS, LearnerConfig
from dp_real.sections import TrainingConfig

if TYPE_CHECKING:
    from torch import nn

    from dp_real.examples import Task
    from dp_real.protocols import Learner


@LEARNERS.named("transformers", place=3)
class TransformersConfig(LearnerConfig):
    """An image classifier of transformers: an existing one, or a fresh one of any size, by default ViT-B/16."""

    library: ClassVar[str | None] = "transformers"

    kind: Literal["transformers"]
    model: str | None = Field(
        default=None, description="a folder, or a hub id, which is fetched unless it is in the hub's cache; none: fresh"
    )
    architecture: str = Field(default="vit", description="a fresh model's type, as transformers names it")
    config: dict[str, Any] = Field(
        default={}, description="a fresh model's sizes as transformers names them, e.g. patch_size"
    )

    @model_validator(mode="after")
    def _check(self) -> TransformersConfig:
        if self.model and self.config:
            raise ValueError(f"config is for a fresh model; the sizes of model = {self.model!r} are its own")
        return self

    def fresh(self, task: Task, training: TrainingConfig, seed: int) -> Learner:
        """The classifier that is named, or a fresh one; a last layer for other classes is fresh, too."""
        from dp_real.learners.models.classifier import ClassifierLearner, load_classifier

        return ClassifierLearner(load_classifier(self, task, seed), task.n_classes, training, seed)

    def network(self, task: Task) -> nn.Module | None:
        """A fresh classifier; the sizes of an existing one are elsewhere."""
        if self.model:
            return None
        from dp_real.learners.models.classifier import fresh_classifier

        return fresh_classifier(self, task)

    def weights(self) -> dict[str, str]:
        """The existing classifier."""
        return {"learner.model": self.model} if self.model else {}
