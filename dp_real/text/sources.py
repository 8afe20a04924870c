from collections.abc import Collection
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from dp_base.errors import InputError
from dp_base.reading import foreign_file
from dp_real.data import DATA, DataConfig
from dp_real.data.examples import Task
from dp_real.data.sets.own import OwnSets
from dp_real.runtime.section import Rows, Seed

if TYPE_CHECKING:
    from torch import Tensor

    from dp_real.data.examples import Examples, RealData
    from dp_real.data.sets.class_names import Classes
    from dp_real.data.sets.places import Located
    from dp_real.text.near_duplicates import NearTexts

LENGTH = 80  # characters of a made-up text at most
WHO_AND_WHAT = {
    "business": "the bank, a retailer, the exchange, an insurer: cut its forecast, sold shares",
    "science": "a telescope, the probe, a laboratory, the survey: measured a comet, found a new cell",
    "sports": "the home side, a rookie, the champion, the keeper: won the final, lost in extra time",
    "weather": "a cold front, the storm, heavy rain, morning fog: reached the coast, closed the pass",
}
WHEN = "on Monday, last night, after a long wait, for the third time, against all forecasts"


class OfTexts(DataConfig):
    """A source of texts, which in memory are int32 [n, L] (dp_real.text.codes)."""

    modality = "text"
    storages = ("text",)
    pipeline_tag = "text-classification"

    def near_duplicates(self, similarity: float) -> "NearTexts":
        from dp_real.text.near_duplicates import NearTexts

        return NearTexts(similarity)

    def read(
        self, located: "Located", classes: "Classes", needed: Collection[int] = (), keep: bool = False
    ) -> "Examples":
        from dp_real.text.text_sets import read_texts

        return read_texts(located, classes, self.task.sample_shape[0], needed)

    def as_samples(self, samples: Any, count: int, giver: str) -> "Tensor":
        """Codes of a list of str, which are cut, or of codes."""
        from dp_real.text.codes import texts_of, to_codes

        if str(getattr(samples, "dtype", "")) == "torch.int32":
            with foreign_file(giver, "gave codes that are not characters"):
                samples = texts_of(samples)
        is_list = isinstance(samples, list | tuple | np.ndarray) and len(samples) == count
        if not is_list or not all(isinstance(text, str) for text in samples):
            raise InputError(
                f"{giver} gave no {count} texts for {count} labels: should be a list of str; "
                "numbers need another data.source, or a Practice with shape= and no storage"
            )
        return to_codes((text.strip() for text in samples), self.task.sample_shape[0], giver)


@DATA.named("text", place=7)
class TextConfig(OwnSets, OfTexts):
    """Your own texts: class folders, CSV, JSONL or Parquet files, or a data set of the hub."""

    source: Literal["text"]
    length: int = Field(default=1000, ge=1, le=10**6, description="characters of a text, which is cut there")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)


@DATA.named("given-texts", place=None)
class GivenTexts(OfTexts):
    """The texts of a Practice, without any real ones."""

    source: Literal["given-texts"]
    shape: tuple[Rows] = Field(description="characters of a text, which is cut there")
    classes: tuple[str, ...] = Field(description="their names")
    split: Seed = Field(default=0, description="unused, as there are no real texts")

    @property
    def task(self) -> Task:
        return Task(self.shape, self.classes)

    @property
    def has_training_examples(self) -> bool:
        return False


@DATA.named("stand-in-text", place=9)
class StandInTextConfig(OfTexts):
    """Made-up sentences on four topics, to try out a run with texts."""

    note = "its texts are made up; its accuracies mean nothing"

    source: Literal["stand-in-text"]
    split: Seed = Field(default=0, description="seed of a generator that is trained here")

    @property
    def task(self) -> Task:
        return Task((LENGTH,), tuple(WHO_AND_WHAT))

    def load(self) -> "RealData":
        import torch

        from dp_real.data.examples import Examples, RealData
        from dp_real.text.codes import to_codes

        rows = [
            (" ".join(words), label)
            for label, who_and_what in enumerate(WHO_AND_WHAT.values())
            for words in product(*(part.split(", ") for part in (*who_and_what.split(": "), WHEN)))
        ]
        texts, labels = zip(*rows, strict=True)
        x, y = to_codes(texts, LENGTH), torch.tensor(labels)
        train, validation, test = (Examples(x[first::3], y[first::3]) for first in range(3))
        return RealData(self.task, train, validation, test)
