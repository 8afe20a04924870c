"""The characters that are the classes, and the fonts and styles that are picked."""

import csv
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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

CASES = tuple((letter, letter.upper()) for letter in "abdeghqrt")
"""Small letters whose capital has another form. A font where they look alike draws small letters as capitals."""

BEYOND_ASCII = [place for place, character in enumerate(CHARACTERS) if not character.isascii()]
"""The places of signs in whose place some fonts have letters of another script."""

log = logging.getLogger(__name__)
ENDINGS = (".ttf", ".otf", ".ttc")
MIN_CHARACTERS = 60  # of CHARACTERS that a font must have to be used
BOLD = 700  # OpenType's weight
REGULAR = 400  # OpenType's weight

Kind = Literal["text", "handwriting", "display"]
OTHER = re.compile(
    r"symbol|math|dingbat|phon[eé]ti|\bipa\b|keyboard|keyfont|small ?cap|\bsc\b|\bcaps\b|titling|bitmap|pixel"
    r"|^px |terminus|spleen|proggy|^atari|^amiga|^c-64|glass tty|klingon|futhark",
    re.I,
)
"""Fonts of symbols, mathematics, phonetics, keyboards, small capitals and bitmaps. They do not show the characters."""
HANDWRITING = re.compile(
    r"script|handwriting|scrawl|chancery|chorus|ecolier|abecedario|kristi|vibes|breip|rufscript|femkeklaver|purisa"
    r"|domestic manners|humor|\bz003|eunjin|bangwool|lobster|leckerli|penguin attack|comic|dkghand|delphine|caliban",
    re.I,
)
DISPLAY = re.compile(
    r"\bbrk$|fraktur|blankenburg|gotico|bajaderka|havana|sketch|stencil|outline|shadow|cherry ?bomb|engadget|staypuft"
    r"|ferrite|fantasma|radis|solide mirage|millimetre|murmure|junkyard|ubuntu-title|because we|postnaja|dclmarker"
    r"|d050000l|it wasn't me|el abogado|metal|conakry|ocr ?b",
    re.I,
)
PANOSE: dict[int, Kind] = {3: "handwriting", 4: "display"}
"""Kinds by the first number of a font's PANOSE, which is its family kind."""
FAMILY_CLASS: dict[int, Kind] = {9: "display", 10: "handwriting"}
"""Kinds by the family class of the OS/2 table. Class 9 has ornamental fonts, and class 10 has scripts."""
ITALIC_BIT = 2  # of macStyle in the head table
BOLD_BIT = 1


@dataclass(frozen=True)
class Font:
    """A font file. Its `weight` is OpenType's (400: regular), its `characters` in the order of CHARACTERS."""

    path: Path
    family: str
    style: str
    kind: Kind
    weight: int
    italic: bool
    characters: str

    @property
    def bold(self) -> bool:
        return self.weight > (REGULAR + BOLD) / 2


DEBIAN = Path("/usr/share")
DEBIANS_FONTS = Path(__file__).with_name("debian.csv")
"""The fonts of Debian's packages that serve: the package of each, and its path below DEBIAN."""


def debian_fonts() -> dict[Path, str]:
    """The fonts of DEBIANS_FONTS, named one by one, so that no other font changes the data."""
    with open(DEBIANS_FONTS, encoding="utf-8", newline="") as file:
        return {DEBIAN / row["font"]: row["package"] for row in csv.DictReader(file)}


def font_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS]


def read_font(path: Path) -> Font | None:
    """The font of a file; None if it cannot be read, or does not have the letters in use."""
    from fontTools.ttLib import TTFont

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of dates and of padding
    try:
        with open(path, "rb") as file, TTFont(file, lazy=True, fontNumber=0) as font:
            return _describe(path, font)
    except Exception as error:  # what fontTools raises on a broken file depends on where it is broken
        log.warning("%s: not a font that can be read: %s; it is left out", path, error)
        return None


def _describe(path: Path, font: Any) -> Font | None:
    known = font.getBestCmap() or {}
    characters = "".join(character for character in CHARACTERS if ord(character) in known)
    family = _name(font, (16, 1), path.stem.partition("-")[0])
    style = _name(font, (17, 2), "")
    if len(characters) < MIN_CHARACTERS or OTHER.search(f"{family} {style}"):
        return None
    mac_style = font["head"].macStyle
    italic = bool(mac_style & ITALIC_BIT) or bool(re.search(r"italic|oblique|slanted", style, re.I))
    metrics = font.get("OS/2")
    weight = BOLD if mac_style & BOLD_BIT else REGULAR
    if metrics is not None:
        weight = metrics.usWeightClass
    return Font(path, family, style, _kind(family, metrics), weight, italic, characters)


def _kind(family: str, metrics: Any) -> Kind:
    if DISPLAY.search(family):
        return "display"
    if HANDWRITING.search(family):
        return "handwriting"
    if metrics is not None:
        return PANOSE.get(metrics.panose.bFamilyType) or FAMILY_CLASS.get(metrics.sFamilyClass >> 8) or "text"
    return "text"


def _name(font: Any, numbers: Sequence[int], default: str) -> str:
    table = font.get("name")
    if table is None:
        return default
    for number in numbers:
        name = table.getDebugName(number)
        if name and any(character.isalpha() for character in name):
            return name.strip()
    return default


def pick_styles(fonts: Iterable[Font]) -> list[Font]:
    """The most usual regular, bold, italic and bold italic of each family."""
    by_style: dict[tuple[str, bool, bool], list[Font]] = defaultdict(list)
    for font in fonts:
        by_style[font.family, font.italic, font.bold].append(font)
    return [min(by_style[style], key=_oddness) for style in sorted(by_style)]


def _oddness(font: Font) -> tuple[int, int, int, str]:
    """Sorts the usual weight first, then the most characters, then the shortest, plainest style name."""
    usual = BOLD if font.bold else REGULAR
    return abs(font.weight - usual), -len(font.characters), len(font.style), str(font.path)
