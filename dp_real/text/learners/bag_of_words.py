"""A bag of words with a linear model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dp_real.learners import LEARNERS, LearnerConfig

if TYPE_CHECKING:
    from torch import nn

    from dp_real.examples import Task


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
    buckets: int = Field(default=2**18, ge=2, le=2**24, description="n-grams share as many weights, by a hash")

    def network(self, task: Task) -> nn.Module:
        from dp_real.text.models.bag_of_words import BagOfWords

        return BagOfWords(task.n_classes, self.unit, self.longest, self.buckets)
