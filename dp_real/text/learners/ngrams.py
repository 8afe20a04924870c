"""A bag of n-grams."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from dp_real.learners import LEARNERS, LearnerConfig
from dp_real.sections import Width

if TYPE_CHECKING:
    from torch import nn

    from dp_real.examples import Task


@LEARNERS.named("ngrams", place=6)
class NGramsConfig(LearnerConfig):
    """A bag of character or word n-grams with a multilayer perceptron."""

    examples: ClassVar[str] = "texts"

    kind: Literal["ngrams"]
    unit: Literal["character", "word"] = Field(
        default="character", description="of the n-grams; of words, bag-of-words reads more"
    )
    shortest: int = Field(default=1, ge=1, le=20, description="units of an n-gram")
    longest: int = Field(default=4, ge=1, le=20, description="likewise")
    buckets: int = Field(default=2**14, ge=2, le=2**24, description="n-grams share as many embeddings, by a hash")
    width: Width = Field(default=64, description="of an embedding")
    hidden: tuple[Width, ...] = Field(default=(64,), max_length=100, description="widths of the hidden layers")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of the embeddings and each hidden layer")

    @model_validator(mode="after")
    def _check(self) -> NGramsConfig:
        if self.shortest > self.longest:
            raise ValueError(f"shortest = {self.shortest} is more than longest = {self.longest}")
        return self

    def network(self, task: Task) -> nn.Module:
        from dp_real.text.models.ngrams import NGramNetwork

        lengths = range(self.shortest, self.longest + 1)
        return NGramNetwork(task.n_classes, self.unit, lengths, self.buckets, self.width, self.hidden, self.dropout)
