"""What all sources of texts have in common, and a user's own texts."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from dp_base.errors import InputError
from dp_real.data import DATA, DataConfig
from dp_real.data.sets.own import OwnSets

if TYPE_CHECKING:
    from torch import Tensor

    from dp_real.data.sets.places import Located
    from dp_real.examples import Examples, TrainingExamples
    from dp_real.text.near import NearTexts


class OfTexts(DataConfig):
    """A source whose examples are texts, which are int32 [n, L] in memory (dp_real.text.codes)."""

    examples: ClassVar[str] = "texts"
    storages: ClassVar[tuple[str, ...]] = ("text",)
    has_likeness: ClassVar[bool] = True
    pipeline_tag: ClassVar[str] = "text-classification"

    def near(self, likeness: float) -> NearTexts:
        from dp_real.text.near import NearTexts

        return NearTexts(likeness)

    def as_samples(self, given: Any, count: int, giver: str) -> Tensor:
        """A list of str, which are cut to the length of this source."""
        from dp_real.text.codes import to_codes

        texts = list(given) if isinstance(given, list | tuple | np.ndarray) else []
        if len(texts) != count or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{giver} gave no {count} texts for {count} labels: should be a list of str")
        return to_codes((text.strip() for text in texts), self.task.sample_shape[0])


@DATA.named("text", place=7)
class TextConfig(OfTexts, OwnSets):
    """Your own texts: class folders, CSV, JSONL or Parquet files, or a data set of the hub."""

    source: Literal["text"]
    length: int = Field(default=1000, ge=1, le=10**6, description="characters of a text; what is beyond is cut off")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    def read(self, found: Located, needed: Collection[int], keep: bool = False) -> Examples:
        """All is held in memory. Raises InputError for a text that is empty, or no text in UTF-8, too."""
        from dp_real.text.text_sets import read_texts

        return read_texts(found, self.labels, self.length, needed)

    def read_training(self, found: Located, needed: Collection[int]) -> TrainingExamples:
        return self.read(found, needed)
