"""A user's own texts."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dp_real.data import DATA
from dp_real.data.sets.own import OwnSets
from dp_real.text.of_texts import OfTexts

if TYPE_CHECKING:
    from dp_real.data.sets.places import Located
    from dp_real.examples import Examples, TrainingExamples


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
