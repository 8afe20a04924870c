"""Sentences of film reviews that people rated, from the source distribution of vaderSentiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dp_base.errors import InputError, MissingError
from dp_real.anchors import Place
from dp_real.data import DATA
from dp_real.examples import Examples, ExampleSet, RealData, SetStatus, Task
from dp_real.sections import Count, Seed
from dp_real.text.data.own_texts import OfTexts

if TYPE_CHECKING:
    from dp_real.text.rated_sentences import Rated

ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
CLASSES = ("negative", "positive")
DEFINITIONS = ("1 out of 5 stars. I hated this film", "5 out of 5 stars. I loved this film")
SYNONYMS = ("terrible", "wonderful")
DOMAINS = {
    "films": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "tweets": "tweets",
    "editorials": "nytEditorialSnippets",
}


@DATA.named("reviews", place=10)
class ReviewsConfig(OfTexts):
    """Sentences of film reviews, negative or positive as twenty people rated them; further sets of other domains."""

    source: Literal["reviews"]
    archive: Place | None = Field(
        default=None, description=f"{ARCHIVE} of PyPI; none: in the cache's folder (dp real plan reviews)"
    )
    least: float = Field(default=1.0, ge=0, le=3.5, description="a sentence counts if its mean rating is so far from 0")
    length: int = Field(default=250, ge=20, le=10_000, description="characters of a text; what is beyond is cut off")
    train: Count = Field(default=2000, description="real sentences of each class for the arm `real`, at most")
    validation: Count = Field(default=500, description="sentences of each class to validate")
    test: Count = Field(default=1500, description="sentences of each class to test")
    sets: dict[str, str] = Field(
        default={}, description="name = 'products', 'tweets', 'editorials', or where: further sets for the end"
    )
    split: Seed = Field(default=0, description="which random split of the films' sentences")

    @property
    def task(self) -> Task:
        return Task((self.length,), CLASSES, definitions=DEFINITIONS, synonyms=SYNONYMS)

    def load(self) -> RealData:
        """There are as many sentences of each class.

        Raises MissingError if the archive is missing, InputError if it is broken or has too few sentences.
        """
        from dp_real.runtime.seeds import Stream, rng

        rated = self._rated("films")
        draw = rng(self.split, Stream.SPLIT)
        orders = [draw.permutation(rows) for rows in rated.by_class()]
        counts = {"validation": self.validation, "test": self.test, "train": self.train}
        chosen: dict[str, list[int]] = {}
        start = 0
        for name, count in counts.items():
            chosen[name] = [row for order in orders for row in order[start : start + count].tolist()]
            start += count
        held_out = self.validation + self.test
        fewest = min(map(len, orders))
        if fewest <= held_out:
            raise InputError(
                f"data.validation + data.test = {held_out}: there are {fewest:,} such sentences of a class, and one "
                "must be left for the arm `real`"
            )
        validation, test, train = (self._examples(rated, rows) for rows in chosen.values())
        sets = {name: self.read_set(name, where) for name, where in self.sets.items()}
        return RealData(self.task, train, validation, test, sets)

    def read_set(self, name: str, where: str) -> ExampleSet:
        """`where` may also name a domain, all of whose sentences are taken."""
        from dp_real.data.sets.class_names import own_classes
        from dp_real.data.sets.places import locate
        from dp_real.text.text_sets import read_texts

        if where not in DOMAINS:
            return read_texts(locate(where), own_classes(CLASSES), self.length, needed=())
        rated = self._rated(where)
        return self._examples(rated, list(range(len(rated.texts))))

    def describe(self) -> list[SetStatus]:
        missing = None if self._archive.is_file() else self._problem
        return [SetStatus("reviews", str(self._archive), None, missing)]

    @property
    def _archive(self) -> Path:
        from dp_real.runtime.cache import cache_folder

        return Path(self.archive) if self.archive else cache_folder() / ARCHIVE

    @property
    def _problem(self) -> str:
        name, _, version = ARCHIVE.removesuffix(".tar.gz").rpartition("-")
        options = f"--no-deps --no-build-isolation --no-binary {name} --dest {self._archive.parent}"
        return f"{self._archive} is missing: pip download {options} {name}=={version}"

    def _rated(self, domain: str) -> Rated:
        from dp_real.text.rated_sentences import read_rated

        if not self._archive.is_file():
            raise MissingError(self._problem)
        return read_rated(self._archive, DOMAINS[domain], self.least)

    def _examples(self, rated: Rated, rows: list[int]) -> Examples:
        import torch

        from dp_real.text.codes import to_codes

        texts = to_codes([rated.texts[row] for row in rows], self.length)
        return Examples(texts, torch.tensor([int(rated.positive[row]) for row in rows]))
