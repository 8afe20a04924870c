"""Single words of eleven languages, from Debian's word lists, in Latin letters without accents."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, model_validator

from dp_base.checksums import digest
from dp_base.errors import InputError, MissingError
from dp_base.progress import Progress, silent
from dp_real.data import DATA
from dp_real.examples import Examples, RealData, SetStatus, Task
from dp_real.sections import Count, Seed
from dp_real.text.sources import OfTexts

if TYPE_CHECKING:
    import numpy as np

FOLDER = Path("/usr/share/dict")
RECIPE = 1  # raise it when the words change that are read from the same lists
MOST = 60_000  # words kept of a language
STEM = 6  # letters that words of one side share with none of another
SHARES = (0.7, 0.06, 0.24)  # of the stems: for the generator, to validate, to test


class WordList(NamedTuple):
    """A package of Debian, and the file and encoding of its list."""

    package: str
    file: str
    encoding: str = "utf-8"


LANGUAGES = {
    "English": WordList("wamerican", "american-english"),
    "German": WordList("wngerman", "ngerman"),
    "Dutch": WordList("wdutch", "dutch"),
    "Swedish": WordList("wswedish", "swedish", "iso-8859-1"),
    "Danish": WordList("wdanish", "danish"),
    "Norwegian": WordList("wnorwegian", "bokmaal", "iso-8859-1"),
    "French": WordList("wfrench", "french"),
    "Italian": WordList("witalian", "italian"),
    "Spanish": WordList("wspanish", "spanish"),
    "Portuguese": WordList("wportuguese", "portuguese"),
    "Polish": WordList("wpolish", "polish"),
}
LETTERS = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ß": "ss", "ł": "l", "đ": "d", "ð": "d", "þ": "th"})
"""What Unicode does not take apart into a letter and an accent."""


@DATA.named("words", place=8)
class WordsConfig(OfTexts):
    """Single words of eleven languages, from Debian's word lists: which language is it?"""

    source: Literal["words"]
    least: int = Field(default=8, ge=3, le=40, description="letters of the shortest words")
    most: int = Field(default=20, ge=3, le=40, description="letters of the longest words")
    train: Count = Field(default=15_000, description="words of each language for the generator, at most")
    validation: Count = Field(default=100, description="words of each language to validate")
    test: Count = Field(default=1000, description="words of each language to test")
    split: Seed = Field(default=0, description="which random split of the words' stems")

    @model_validator(mode="after")
    def _check(self) -> WordsConfig:
        if self.least > self.most:
            raise ValueError(f"least = {self.least} is more than most = {self.most}")
        return self

    @property
    def task(self) -> Task:
        return Task((self.most,), tuple(LANGUAGES))

    def prepare(self, progress: Progress = silent) -> None:
        self._words(progress)

    def load(self) -> RealData:
        """Words with the same first STEM letters are on one side of the split."""
        from dp_real.runtime.seeds import Stream, rng

        draw = rng(self.split, Stream.SPLIT)
        words = self._words()
        stems = sorted({word[:STEM] for each in words for word in each})
        side = dict(zip(stems, draw.choice(len(SHARES), len(stems), p=SHARES).tolist(), strict=True))
        counts = (self.train, self.validation, self.test)
        generator, validation, test = (self._side(words, side, index, n, draw) for index, n in enumerate(counts))
        return RealData(self.task, generator, validation, test)

    def _side(
        self, words: list[list[str]], side: dict[str, int], index: int, n: int, draw: np.random.Generator
    ) -> Examples:
        """Only the generator may have fewer than n words of a language."""
        import torch

        from dp_real.text.codes import to_codes

        chosen: list[str] = []
        labels: list[int] = []
        for label, (language, each) in enumerate(zip(LANGUAGES, words, strict=True)):
            here = [word for word in each if side[word[:STEM]] == index]
            if len(here) < (n if index else 1):
                name = ("train", "validation", "test")[index]
                raise InputError(
                    f"data.{name} = {n}: {language} has {len(here)} such words of {self.least} to {self.most}"
                )
            mine = draw.permutation(len(here))[:n]
            chosen += [here[row] for row in mine]
            labels += [label] * len(mine)
        return Examples(to_codes(chosen, self.most), torch.tensor(labels))

    def describe(self) -> list[SetStatus]:
        return [SetStatus("words", str(FOLDER), None, _problem())]

    def _words(self, progress: Progress = silent) -> list[list[str]]:
        from dp_real.runtime.cache import cached

        if problem := _problem():
            raise MissingError(problem)

        def make(folder: Path) -> None:
            for language, words in _own_words(self.least, self.most, progress).items():
                (folder / f"{language}.txt").write_text("\n".join(words) + "\n", encoding="ascii")

        lists = {language: digest(FOLDER / each.file) for language, each in LANGUAGES.items()}
        folder = cached("words", {"recipe": RECIPE, "least": self.least, "most": self.most, "lists": lists}, make)
        return [(folder / f"{language}.txt").read_text(encoding="ascii").split() for language in LANGUAGES]


def _problem() -> str | None:
    missing = [each.package for each in LANGUAGES.values() if not (FOLDER / each.file).is_file()]
    install = f"apt-get install --no-install-recommends {' '.join(missing)}"
    return f"word lists are missing: {install}" if missing else None


def _own_words(least: int, most: int, progress: Progress) -> dict[str, list[str]]:
    """Words that one language alone has; of each at most MOST, evenly spaced."""
    pattern = re.compile(f"^[a-z]{{{least},{most}}}$", re.MULTILINE)
    found: dict[str, set[str]] = {}
    with progress("reading word lists", len(LANGUAGES)) as advance:
        for language, each in LANGUAGES.items():
            found[language] = set(pattern.findall(plain((FOLDER / each.file).read_text(encoding=each.encoding))))
            advance(1)
    languages = Counter(word for words in found.values() for word in words)
    own = {language: sorted(word for word in words if languages[word] == 1) for language, words in found.items()}
    return {
        language: words if len(words) <= MOST else [words[i * len(words) // MOST] for i in range(MOST)]
        for language, words in own.items()
    }


def plain(text: str) -> str:
    return re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", text.lower().translate(LETTERS)))
