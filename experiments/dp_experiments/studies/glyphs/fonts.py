"""The characters that are the classes, and the fonts that show them.

debian.csv was made once, from all fonts of Debian's packages that have 60 of the characters: the usual regular, bold,
italic and bold italic of each family, but for fonts of symbols, small capitals or bitmaps. Left out are fonts that draw
small letters as capitals, those of which a ridge classifier of other families reads too few characters, and those that
nearly coincide with another of their group. Families of a group share a first name, or nearly coincide.
"""

import csv
import logging
from dataclasses import dataclass
from pathlib import Path

# fmt: off
CHARACTERS = {
    "2": "digit two", "3": "digit three", "4": "digit four", "5": "digit five", "6": "digit six", "7": "digit seven",
    "8": "digit eight", "9": "digit nine",
    **{letter: f"capital {letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    **{letter: f"small {letter}" for letter in "abdefghiqrty"},
    "&": "ampersand", "@": "at sign", "#": "number sign", "$": "dollar sign", "%": "percent sign",
    "?": "question mark", "!": "exclamation mark", "+": "plus sign", "<": "less-than sign", ">": "greater-than sign",
    "{": "left brace", "}": "right brace", "(": "left parenthesis", ")": "right parenthesis", "[": "left bracket",
    "]": "right bracket", "*": "asterisk", "=": "equals sign", "£": "pound sign", "¥": "yen sign", "§": "section sign",
    "¶": "paragraph sign", "ß": "sharp s", "æ": "small ae", "Æ": "capital AE", "Ø": "capital O with stroke",
    "÷": "division sign", "±": "plus-minus sign", "«": "left guillemet", "»": "right guillemet", "©": "copyright sign",
}
# fmt: on
"""The characters and their names in prompts. Twins are left out, which look alike at one size, such as c and C."""

BEYOND_ASCII = [place for place, character in enumerate(CHARACTERS) if not character.isascii()]
"""The places of signs in whose place some fonts have letters of another script."""

DEBIAN = Path("/usr/share")
DEBIANS_FONTS = Path(__file__).with_name("debian.csv")


@dataclass(frozen=True)
class Face:
    """A font of DEBIANS_FONTS. Its kind is text, handwriting or display; the split divides no group."""

    path: Path
    package: str
    kind: str
    group: int
    ascii_only: bool


def debian_fonts(below: Path = DEBIAN) -> list[Face]:
    """The fonts of DEBIANS_FONTS, named one by one, so that no other font changes the data."""
    with open(DEBIANS_FONTS, encoding="utf-8", newline="") as file:
        return [
            Face(below / row["font"], row["package"], row["kind"], int(row["group"]), row["ascii_only"] == "yes")
            for row in csv.DictReader(file)
        ]


def letters_of(path: Path) -> set[int]:
    """The code points that a font has."""
    from fontTools.ttLib import TTFont

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of dates and of padding
    with TTFont(path, lazy=True, fontNumber=0) as font:
        return set(font.getBestCmap() or {})
