"""Stand-ins for texts of a user's own: made-up sentences on four topics, written on first use."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from dp_real.data import DATA
from dp_real.data.stand_in import MadeUp
from dp_real.examples import Task
from dp_real.sections import Seed
from dp_real.text.data.own_texts import OfTexts, TextConfig

RECIPE = 1  # raise it when the written files change
WHO_AND_WHAT = {
    "business": (("the bank", "a retailer", "the exchange", "an insurer"), ("cut its forecast", "sold shares")),
    "science": (("a telescope", "the probe", "a laboratory", "the survey"), ("measured a comet", "found a new cell")),
    "sports": (("the home side", "a rookie", "the champion", "the keeper"), ("won the final", "lost in extra time")),
    "weather": (("a cold front", "the storm", "heavy rain", "morning fog"), ("reached the coast", "closed the pass")),
}
WHEN = ("on Monday", "last night", "after a long wait", "for the third time", "against all forecasts")


@DATA.named("stand-in-text", place=9)
class StandInTextConfig(OfTexts, MadeUp):
    """Made-up sentences on four topics, to try the whole path of texts without data."""

    note: ClassVar[str] = "its texts are made up; its accuracies mean nothing"

    source: Literal["stand-in-text"]
    length: int = Field(default=80, ge=1, le=10**6, description="characters of a text; what is beyond is cut off")
    split: Seed = Field(default=0, description="seed of a generator that is trained here")

    @property
    def task(self) -> Task:
        topics = tuple(WHO_AND_WHAT)
        none = ("",) * len(WHO_AND_WHAT)
        return Task((self.length,), topics, definitions=none, synonyms=none)

    @property
    def folders(self) -> TextConfig:
        from dp_real.runtime.cache import cached

        root = cached("stand-in/texts", {"recipe": RECIPE}, write_sets)
        train, validation, test = (str(root / name) for name in ("train", "validation", "test"))
        return TextConfig(
            source="text", length=self.length, split=self.split, train=train, validation=validation, test=test
        )


def write_sets(root: Path) -> None:
    """Write root/SET/TOPIC/N.txt: the sentences of each topic in turn to train, to validate and to test."""
    for topic, (who, what) in WHO_AND_WHAT.items():
        for number, words in enumerate(product(who, what, WHEN)):
            folder = root / ("train", "validation", "test")[number % 3] / topic
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.txt").write_text(" ".join(words) + "\n", encoding="utf-8")
