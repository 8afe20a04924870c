"""Sentences with mean ratings of twenty people, from vaderSentiment (Hutto and Gilbert 2014, ICWSM)."""

import tarfile
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dp_base.errors import InputError, MissingError
from dp_base.reading import foreign_file
from dp_real.data import DATA
from dp_real.data.examples import Examples, ExampleSet, RealData, SetStatus, Task
from dp_real.runtime.section import Count, Place, Seed
from dp_real.text.sources import OfTexts

ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
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
    """Sentences of film reviews, negative or positive as twenty people rated them."""

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
        """Each set has as many sentences of each class."""
        from dp_real.runtime.seeds import Stream, rng

        rated = self._rated("films")
        draw = rng(self.split, Stream.SPLIT)
        by_class = [[text for text, is_positive in rated.items() if is_positive == label] for label in (False, True)]
        shuffled = [[texts[row] for row in draw.permutation(len(texts))] for texts in by_class]
        held_out = self.validation + self.test
        fewest = min(map(len, shuffled))
        if fewest <= held_out:
            raise InputError(
                f"data.validation + data.test = {held_out}: there are {fewest:,} such sentences of a class, and one "
                "must be left for the arm `real`"
            )

        def part(start: int, count: int) -> Examples:
            return self._examples({text: rated[text] for texts in shuffled for text in texts[start : start + count]})

        sets = {name: self.read_set(name, where) for name, where in self.sets.items()}
        validation, test = part(0, self.validation), part(self.validation, self.test)
        return RealData(self.task, part(held_out, self.train), validation, test, sets)

    def read_set(self, name: str, where: str) -> ExampleSet:
        """`where` may also name a domain, all of whose sentences are taken."""
        return self._examples(self._rated(where)) if where in DOMAINS else super().read_set(name, where)

    def describe(self) -> list[SetStatus]:
        return [SetStatus("reviews", str(self._archive), self._problem)]

    @property
    def _archive(self) -> Path:
        from dp_real.runtime.cache import cache_folder

        return Path(self.archive) if self.archive else cache_folder() / ARCHIVE

    @property
    def _problem(self) -> str | None:
        if self._archive.is_file():
            return None
        options = f"--no-deps --no-build-isolation --no-binary vaderSentiment --dest {self._archive.parent}"
        return f"{self._archive} is missing: pip download {options} vaderSentiment==3.3.2"

    def _rated(self, domain: str) -> dict[str, bool]:
        if self._problem:
            raise MissingError(self._problem)
        return read_rated(self._archive, DOMAINS[domain], self.least)

    def _examples(self, rated: dict[str, bool]) -> Examples:
        import torch

        from dp_real.text.codes import to_codes

        return Examples(to_codes(rated, self.length), torch.tensor([*rated.values()]).long())


def read_rated(archive: Path, domain: str, least: float) -> dict[str, bool]:
    """Sentences, each once, whose mean rating in -4 to 4 is at least `least` from 0, and whether it is positive."""
    name = f"hutto_ICWSM_2014/{domain}_GroundTruth.txt"
    rated: dict[str, float] = {}
    with (
        foreign_file(archive, "cannot be read as the source distribution of vaderSentiment 3.3.2"),
        tarfile.open(archive) as outer,
        tarfile.open(fileobj=outer.extractfile(INNER)) as inner,
    ):
        content: Any = inner.extractfile(name)
        for line in content.read().decode("latin-1").splitlines():
            _, rating, text = line.split("\t", 2)  # a number, the mean rating and the sentence
            text = " ".join(text.replace("''", '"').split())
            rated[text] = rated.pop(text, float(rating))  # in the order of the last places
    is_positive = {text: rating > 0 for text, rating in rated.items() if text and rating and abs(rating) >= least}
    if not is_positive:
        raise InputError(f"{archive}: {name} has no sentence rated {least:g} or more from 0")
    return is_positive
