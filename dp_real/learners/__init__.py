"""Kinds of learners, without torch, so that reading a configuration stays quick."""

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dp_base.errors import InputError
from dp_base.registry import Registry
from dp_real.data import DataConfig
from dp_real.learners.section import TrainingConfig
from dp_real.runtime.section import ModelPlace, PartConfig, Width

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

    def fresh_model(self, task: "Task") -> "nn.Module":
        """A fresh model, perhaps on the meta device, where some models fail."""
        raise NotImplementedError

    def pretrained_model(self, model: str, task: "Task") -> "nn.Module":
        """An existing model, with a fresh last layer if its classes differ."""
        raise NotImplementedError

    def classifier(self, task: "Task") -> Any:
        """The fresh or existing model; fresh weights are from torch's random state."""
        from dp_real.learners.models.architectures import freeze_unused

        classifier: Any = self.pretrained_model(self.model, task) if self.model else self.fresh_model(task)
        return freeze_unused(classifier, task.sample_shape)

    def fresh(self, task: "Task", training: TrainingConfig, seed: int) -> "Learner":
        from dp_real.learners.models.network import PretrainedLearner

        return PretrainedLearner.fresh(self.classifier, task, training, seed)

    def weights(self) -> dict[str, str]:
        return {"learner.model": self.model} if self.model else {}


LEARNERS: Registry[type[LearnerConfig]] = Registry("learners", "dp_real.learners")


HIDDEN = 128  # units of the hidden layer of `conv`


def _image_shape(kind: str, task: "Task") -> tuple[int, ...]:
    shape = task.sample_shape
    if len(shape) != 3:
        raise InputError(f"learner.kind = '{kind}' takes images [C, H, W]; these samples have shape {list(shape)}")
    return shape


@LEARNERS.named("mlp", place=1)
class MLPConfig(LearnerConfig):
    """A multilayer perceptron on the flattened sample."""

    kind: Literal["mlp"]
    hidden: tuple[Width, ...] = Field(default=(64,), max_length=100, description="widths of the hidden layers")

    def network(self, task: "Task") -> "nn.Module":
        from torch import nn

        widths = [prod(task.sample_shape), *self.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for width, next_width in pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], task.n_classes))


@LEARNERS.named("conv", place=2)
class ConvConfig(LearnerConfig):
    """A small convolutional classifier."""

    kind: Literal["conv"]
    widths: tuple[Width, ...] = Field(default=(32, 64), max_length=100, description="of the convolutions")

    def network(self, task: "Task") -> "nn.Module":
        from torch import nn

        channels, height, width = _image_shape(self.kind, task)
        reduction = 2 ** len(self.widths)  # factor by which the poolings shrink each side
        if min(height, width) < reduction:
            pixels = f"{height} x {width} pixels"
            raise InputError(f"learner.widths = {list(self.widths)}: each halves the image of {pixels}: give fewer")
        widths = [channels, *self.widths]
        flat = widths[-1] * (height // reduction) * (width // reduction)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
            # ReLU after pooling gives the same result as before it, with a quarter of the work.
            layers.append(nn.Sequential(convolution, nn.MaxPool2d(2), nn.ReLU()))
        layers += [nn.Flatten(), nn.Linear(flat, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, task.n_classes)]
        return nn.Sequential(*layers)


@LEARNERS.named("transformers", place=3)
class TransformersConfig(PretrainedConfig):
    """An image classifier of transformers, existing or fresh, by default ViT-B/16."""

    kind: Literal["transformers"]
    architecture: Architecture = "vit"

    def fresh_model(self, task: "Task") -> "nn.Module":
        from dp_real.learners.models.classifier import fresh_classifier

        _image_shape(self.kind, task)
        return fresh_classifier(task, self.architecture, self.config)

    def pretrained_model(self, model: str, task: "Task") -> "nn.Module":
        from dp_real.learners.models.architectures import class_names
        from dp_real.learners.models.classifier import pretrained_classifier

        return pretrained_classifier(model, _image_shape(self.kind, task), class_names(task))


FOR_SOLVERS = ("steps", "batch_size", "warmup", "cooldown", "randaugment_magnitude")
"""The keys of [training] that may be set for a solver."""


@LEARNERS.named("linear", place=4)
class LinearConfig(LearnerConfig):
    """Ridge or logistic regression for two classes."""

    any_size: ClassVar[bool] = False
    counted: ClassVar[bool] = False

    kind: Literal["linear"]
    loss: Literal["ridge", "logistic"] = Field(
        default="ridge", description="ridge: (y - w·x)²/2; logistic: log(1 + exp(-y w·x))"
    )
    lam: float = Field(ge=1e-15, le=1e15, description="lam/2 |w|² is added to the rows' mean loss")

    def fresh(self, task: "Task", training: TrainingConfig, seed: int) -> "Learner":
        """A learner that starts at w = 0, where every entropy is ln 2."""
        from dp_real.learners.models.linear import LinearLearner

        return LinearLearner(task, lam=self.lam, loss=self.loss)

    def check(self, training: TrainingConfig, source: DataConfig) -> None:
        if training.batch_size:
            raise ValueError("learner.kind = 'linear' is solved on the whole pool: training.batch_size must be 0")
        for key, field in TrainingConfig.model_fields.items():
            if key not in FOR_SOLVERS and getattr(training, key) != field.default:
                raise ValueError(f"learner.kind = 'linear' is solved, not trained: leave out training.{key}")
