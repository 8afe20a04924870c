"""Single words of eleven languages, from Debian's word lists, in Latin letters without accents."""

import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from dp_base.checksums import digest
from dp_base.errors import InputError, MissingError
from dp_base.progress import progress
from dp_real.data import DATA
from dp_real.data.examples import Examples, RealData, SetStatus, Task
from dp_real.runtime.section import Count, Seed
from dp_real.text.sources import OfTexts

FOLDER = Path("/usr/share/dict")
RECIPE = 1  # raise it when other words are taken from the same lists
MAX_WORDS = 60_000  # words kept of a language
STEM = 6  # letters that words of one side share with none of another
SHARES = {"train": 0.7, "validation": 0.06, "test": 0.24}  # of the stems


LANGUAGES = {
    "English": ("wamerican", "american-english", "utf-8"),
    "German": ("wngerman", "ngerman", "utf-8"),
    "Dutch": ("wdutch", "dutch", "utf-8"),
    "Swedish": ("wswedish", "swedish", "iso-8859-1"),
    "Danish": ("wdanish", "danish", "utf-8"),
    "Norwegian": ("wnorwegian", "bokmaal", "iso-8859-1"),
    "French": ("wfrench", "french", "utf-8"),
    "Italian": ("witalian", "italian", "utf-8"),
    "Spanish": ("wspanish", "spanish", "utf-8"),
    "Portuguese": ("wportuguese", "portuguese", "utf-8"),
    "Polish": ("wpolish", "polish", "utf-8"),
}
"""A package of Debian, and the file and encoding of its list."""
LETTERS = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ß": "ss", "ł": "l", "đ": "d", "ð": "d", "þ": "th"})
"""What Unicode does not take apart into a letter and an accent."""


@DATA.named("words", place=8)
class WordsConfig(OfTexts):
    """Single words of eleven languages, from Debian's word lists."""

    source: Literal["words"]
    least: int = Field(default=8, ge=3, le=40, description="letters of the shortest words")
    most: int = Field(default=20, ge=3, le=40, description="letters of the longest words")
    train: Count = Field(default=15_000, description="words of each language for the generator, at most")
    validation: Count = Field(default=100, description="words of each language to validate")
    test: Count = Field(default=1000, description="words of each language to test")
    split: Seed = Field(default=0, description="which random split of the words' stems")

    @model_validator(mode="after")
    def _check(self) -> "WordsConfig":
        if self.least > self.most:
            raise ValueError(f"least = {self.least} is more than most = {self.most}")
        return self

    @property
    def task(self) -> Task:
        return Task((self.most,), tuple(LANGUAGES))

    def load(self) -> RealData:
        """Words with the same first STEM letters are on one side of the split; only the generator may have fewer."""
        import torch

        from dp_real.runtime.seeds import Stream, rng
        from dp_real.text.codes import to_codes

        draw = rng(self.split, Stream.SPLIT)
        words = self._words()
        stems = sorted({word[:STEM] for each in words.values() for word in each})
        side = dict(zip(stems, draw.choice(len(SHARES), len(stems), p=list(SHARES.values())).tolist(), strict=True))
        sets = []
        for index, name in enumerate(SHARES):
            count = getattr(self, name)
            drawn: list[str] = []
            labels: list[int] = []
            for label, (language, each) in enumerate(words.items()):
                here = [word for word in each if side[word[:STEM]] == index]
                if len(here) < (count if index else 1):
                    raise InputError(
                        f"data.{name} = {count}: {language} has {len(here)} such words of {self.least} to {self.most}"
                    )
                mine = draw.permutation(len(here))[:count]
                drawn += [here[row] for row in mine]
                labels += [label] * len(mine)
            sets.append(Examples(to_codes(drawn, self.most), torch.tensor(labels)))
        generator, validation, test = sets
        return RealData(self.task, generator, validation, test)

    def describe(self) -> list[SetStatus]:
        return [SetStatus("words", str(FOLDER), _problem())]

    def _words(self) -> dict[str, list[str]]:
        """Words that one language alone has, sorted; of each at most MOST, evenly spaced."""
        from dp_real.runtime.cache import cached

        if problem := _problem():
            raise MissingError(problem)

        def make(folder: Path) -> None:
            pattern = re.compile(f"^[a-z]{{{self.least},{self.most}}}$", re.MULTILINE)
            vocabularies: dict[str, set[str]] = {}
            with progress("reading word lists", len(LANGUAGES)) as advance:
                for language, (_, file, encoding) in LANGUAGES.items():
                    vocabularies[language] = set(pattern.findall(plain((FOLDER / file).read_text(encoding=encoding))))
                    advance(1)
            languages = Counter(word for words in vocabularies.values() for word in words)
            for language, words in vocabularies.items():
                own = sorted(word for word in words if languages[word] == 1)
                if len(own) > MAX_WORDS:
                    own = [own[i * len(own) // MAX_WORDS] for i in range(MAX_WORDS)]
                (folder / f"{language}.txt").write_text("\n".join(own) + "\n", encoding="ascii")

        lists = {language: digest(FOLDER / file) for language, (_, file, _) in LANGUAGES.items()}
        folder = cached("words", {"recipe": RECIPE, "least": self.least, "most": self.most, "lists": lists}, make)
        return {language: (folder / f"{language}.txt").read_text(encoding="ascii").split() for language in LANGUAGES}


def _problem() -> str | None:
    missing = [package for package, file, _ in LANGUAGES.values() if not (FOLDER / file).is_file()]
    install = f"apt-get install --no-install-recommends {' '.join(missing)}"
    return f"word lists are missing: {install}" if missing else None


def plain(text: str) -> str:
    return re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", text.lower().translate(LETTERS)))
