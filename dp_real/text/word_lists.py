"""Debian's word lists of eleven languages, in Latin letters without accents."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dp_base.checksums import digest

FOLDER = Path("/usr/share/dict")
RECIPE = 1  # raise it when the words change that are read from the same lists
MOST = 60_000  # words kept of a language


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


def missing_packages() -> list[str]:
    """The packages that are not installed."""
    return [each.package for each in LANGUAGES.values() if not (FOLDER / each.file).is_file()]


def digest_lists() -> dict[str, str]:
    """A checksum of each list."""
    return {language: digest(FOLDER / each.file) for language, each in LANGUAGES.items()}


def plain(text: str) -> str:
    """Lower case, without accents."""
    return re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", text.lower().translate(LETTERS)))


def own_words(least: int, most: int, advance: Callable[[int], None]) -> dict[str, list[str]]:
    """Words of `least` to `most` letters that one language alone has; of each at most MOST, evenly spaced, in order."""
    pattern = re.compile(f"^[a-z]{{{least},{most}}}$", re.MULTILINE)
    found: dict[str, set[str]] = {}
    for language, each in LANGUAGES.items():
        found[language] = set(pattern.findall(plain((FOLDER / each.file).read_text(encoding=each.encoding))))
        advance(1)
    languages = Counter(word for words in found.values() for word in words)
    own = {language: sorted(word for word in words if languages[word] == 1) for language, words in found.items()}
    return {language: _evenly(words) for language, words in own.items()}


def _evenly(words: list[str]) -> list[str]:
    if len(words) <= MOST:
        return words
    return [words[i * len(words) // MOST] for i in range(MOST)]
