"""The kinds of learners of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from dp_real.learners import LEARNERS, LearnerConfig
from dp_real.sections import ModelPlace, TrainingConfig, Width

if TYPE_CHECKING:
    from torch import nn

    from dp_real.examples import Task
    from dp_real.protocols import Learner
    from dp_real.text.models.sequence_classifier import SequenceClassifier


@LEARNERS.named("bag-of-words", place=5)
class BagOfWordsConfig(LearnerConfig):
    """A linear model of scikit-learn's bag of words, which needs no pretrained network."""

    examples: ClassVar[str] = "texts"
    counted: ClassVar[bool] = False

    kind: Literal["bag-of-words"]
    unit: Literal["word", "character"] = Field(
        default="word", description="of the n-grams; character: for languages that put no spaces between words"
    )
    longest: int = Field(default=1, ge=1, le=20, description="units of the longest n-grams; the shortest have one")

    def network(self, task: Task) -> nn.Module:
        from dp_real.text.models.ngrams import BagOfWords

        return BagOfWords(task.n_classes, self.unit, self.longest)


@LEARNERS.named("ngrams", place=6)
class NGramsConfig(LearnerConfig):
    """A bag of n-grams of characters with a multilayer perceptron."""

    examples: ClassVar[str] = "texts"

    kind: Literal["ngrams"]
    longest: int = Field(default=4, ge=1, le=20, description="characters of the longest n-grams; the shortest have one")
    buckets: int = Field(default=2**14, ge=2, le=2**24, description="n-grams share as many embeddings, by a hash")
    width: Width = Field(default=64, description="of an embedding")
    hidden: tuple[Width, ...] = Field(default=(64,), max_length=100, description="widths of the hidden layers")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of the embeddings and each hidden layer")

    def network(self, task: Task) -> nn.Module:
        from dp_real.text.models.ngrams import NGramNetwork

        return NGramNetwork(task.n_classes, self.longest, self.buckets, self.width, self.hidden, self.dropout)


@LEARNERS.named("transformers-text", place=7)
class TransformersTextConfig(LearnerConfig):
    """A sequence classifier of transformers: an existing one or a pretrained encoder, or a fresh one of any size."""

    examples: ClassVar[str] = "texts"
    library: ClassVar[str | None] = "transformers"

    kind: Literal["transformers-text"]
    model: ModelPlace | None = Field(
        default=None,
        description="a folder, or a hub id, which is fetched unless it is in the hub's cache; none: fresh",
    )
    architecture: str = Field(default="bert", description="a fresh model's type, as transformers names it")
    config: dict[str, Any] = Field(
        default={}, description="a fresh model's sizes as transformers names them, e.g. hidden_size"
    )
    max_tokens: int = Field(default=256, ge=1, le=2**20, description="of a text, or as many as the model can; then cut")

    @model_validator(mode="after")
    def _check(self) -> TransformersTextConfig:
        if self.model and self.config:
            raise ValueError(f"config is for a fresh model; model = {self.model!r} has its own")
        return self

    def fresh(self, task: Task, training: TrainingConfig, seed: int) -> Learner:
        from dp_real.learners.models.architectures import freeze_unused
        from dp_real.runtime.seeds import Stream, seeded, torch_rng
        from dp_real.text.models.sequence_classifier import SequenceLearner, known_classifier

        with seeded(torch_rng(seed, Stream.LEARNER_INIT)):
            model = self.model
            classifier = known_classifier(model, task, self.max_tokens) if model else self.network(task)
            assert classifier is not None, "there is a network unless a model is named"
            classifier = freeze_unused(classifier, task.sample_shape)
        return SequenceLearner(classifier, task, training, seed)

    def network(self, task: Task) -> SequenceClassifier | None:
        """None for an existing classifier, whose sizes are with its weights."""
        if self.model:
            return None
        from dp_real.text.models.sequence_classifier import fresh_classifier

        return fresh_classifier(task, self.architecture, self.config, self.max_tokens)

    def weights(self) -> dict[str, str]:
        return {"learner.model": self.model} if self.model else {}
