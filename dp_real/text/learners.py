from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dp_real.learners import LEARNERS, Architecture, LearnerConfig, PretrainedConfig

if TYPE_CHECKING:
    from torch import nn

    from dp_real.data.examples import Task


@LEARNERS.named("bag-of-words", place=5)
class BagOfWordsConfig(LearnerConfig):
    """A linear model on scikit-learn's bag of words."""

    modality = "text"
    counted = False

    kind: Literal["bag-of-words"]

    def network(self, task: "Task") -> "nn.Module":
        from dp_real.text.models.ngrams import BagOfWords

        return BagOfWords(task.n_classes)


@LEARNERS.named("ngrams", place=6)
class NGramsConfig(LearnerConfig):
    """A bag of n-grams of up to four characters with a multilayer perceptron."""

    modality = "text"

    kind: Literal["ngrams"]

    def network(self, task: "Task") -> "nn.Module":
        from dp_real.text.models.ngrams import NGramNetwork

        return NGramNetwork(task.n_classes)


@LEARNERS.named("transformers-text", place=7)
class TransformersTextConfig(PretrainedConfig):
    """A sequence classifier of transformers: an existing one, a pretrained encoder, or a fresh one."""

    modality = "text"

    kind: Literal["transformers-text"]
    architecture: Architecture = "bert"
    max_tokens: int = Field(default=256, ge=1, le=2**20, description="per text, within the model's limit; then cut")

    def fresh_model(self, task: "Task") -> "nn.Module":
        from dp_real.text.models.sequence_classifier import fresh_classifier

        return fresh_classifier(task, self.architecture, self.config, self.max_tokens)

    def pretrained_model(self, model: str, task: "Task") -> "nn.Module":
        from dp_real.text.models.sequence_classifier import pretrained_classifier

        return pretrained_classifier(model, task, self.max_tokens)
