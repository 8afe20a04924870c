"""The learner kind `transformers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from dp_base.errors import InputError
from dp_real.learners import LEARNERS, LearnerConfig
from dp_real.sections import ModelPlace, TrainingConfig

if TYPE_CHECKING:
    from dp_real.examples import Task
    from dp_real.learners.models.classifier import Classifier
    from dp_real.protocols import Learner


@LEARNERS.named("transformers", place=3)
class TransformersConfig(LearnerConfig):
    """An image classifier of transformers: an existing one, or a fresh one of any size, by default ViT-B/16."""

    library: ClassVar[str | None] = "transformers"

    kind: Literal["transformers"]
    model: ModelPlace | None = Field(
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
        from dp_real.learners.models.classifier import ClassifierLearner

        return ClassifierLearner(self.classifier(task, seed), task, training, seed)

    def classifier(self, task: Task, seed: int) -> Classifier:
        """The seed is that of fresh weights, such as a last layer for other classes."""
        from dp_real.learners.models.architectures import class_names, freeze_unused
        from dp_real.learners.models.classifier import known_classifier
        from dp_real.runtime.seeds import Stream, seeded, torch_rng

        shape = task.sample_shape
        if len(shape) != 3:
            raise InputError(
                f"learner.kind = 'transformers' takes images [C, H, W]; these samples have shape {list(shape)}"
            )
        with seeded(torch_rng(seed, Stream.LEARNER_INIT)):
            fresh = self.network(task)
            if fresh is not None:
                return fresh
            assert self.model is not None, "there is a network unless a model is named"
            return freeze_unused(known_classifier(self.model, shape, class_names(task)), shape)

    def network(self, task: Task) -> Classifier | None:
        """None for an existing one, whose sizes are with its weights."""
        if self.model:
            return None
        from dp_real.learners.models.classifier import fresh_classifier

        return fresh_classifier(task, self.architecture, self.config)

    def weights(self) -> dict[str, str]:
        return {"learner.model": self.model} if self.model else {}
