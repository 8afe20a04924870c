"""The learner kind `linear`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dp_real.data import DataConfig
from dp_real.learners import LEARNERS, LearnerConfig
from dp_real.sections import TrainingConfig

if TYPE_CHECKING:
    from dp_real.examples import Task
    from dp_real.protocols import Learner

UNUSED = (
    "learning_rate",
    "weight_decay",
    "max_grad_norm",
    "ema_decay",
    "label_smoothing",
    "crop",
    "flip",
    "mixup",
    "cutmix",
    "randaugment",
    "precision",
    "compile",
    "logit_adjustment",
    "balanced_batches",
)
"""Keys of [training] that mean nothing to a solver."""


@LEARNERS.named("linear", place=4)
class LinearConfig(LearnerConfig):
    """Ridge or logistic regression for two classes, solved on the whole pool at each step."""

    any_size: ClassVar[bool] = False
    counted: ClassVar[bool] = False

    kind: Literal["linear"]
    loss: Literal["ridge", "logistic"] = Field(
        default="ridge", description="ridge: (y - w·x)²/2; logistic: log(1 + exp(-y w·x))"
    )
    lam: float = Field(ge=1e-15, le=1e15, description="the penalty is lam/2 |w|², beside the mean loss of the rows")

    def network(self, task: Task) -> None:
        """It is no network."""

    def fresh(self, task: Task, training: TrainingConfig, seed: int) -> Learner:
        """It begins at w = 0, where every entropy is ln 2."""
        from dp_real.learners.models.linear import LinearLearner

        return LinearLearner(task.sample_shape, task.n_classes, lam=self.lam, loss=self.loss)

    def check(self, training: TrainingConfig, source: DataConfig) -> None:
        if training.batch_size:
            raise ValueError("learner.kind = 'linear' is solved on the whole pool: training.batch_size must be 0")
        for key in UNUSED:
            if getattr(training, key) != TrainingConfig.model_fields[key].default:
                raise ValueError(f"learner.kind = 'linear' is solved, not trained: leave out training.{key}")
