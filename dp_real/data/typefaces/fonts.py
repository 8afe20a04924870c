"""Finds outline fonts in folders, reads their names, and picks up to four styles of each family."""

from __future__ import annotations

import csv
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from dp_real.data.typefaces.characters import CHARACTERS

log = logging.getLogger(__name__)
DEBIAN = (Path("/usr/share/fonts"), Path("/usr/share/texmf/fonts"))
"""Where Debian's packages put fonts."""
ENDINGS = (".ttf", ".otf", ".ttc")
LEAST_CHARACTERS = 60  # of CHARACTERS, in a font that is used
BOLD, REGULAR = 700, 400  # OpenType's weights

Kind = Literal["text", "handwriting", "display"]
OTHER = re.compile(
    r"symbol|math|dingbat|phon[eé]ti|\bipa\b|keyboard|keyfont|small ?cap|\bsc\b|\bcaps\b|titling|bitmap|pixel"
    r"|^px |terminus|spleen|proggy|^atari|^amiga|^c-64|glass tty|klingon|futhark",
    re.I,
)  # symbols, mathematics, phonetics, keyboards, small capitals and bitmaps: not the characters that they stand for
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
PANOSE: dict[int, Kind] = {3: "handwriting", 4: "display"}  # the first number of a font's PANOSE: its family kind
FAMILY_CLASS: dict[int, Kind] = {9: "display", 10: "handwriting"}  # of the OS/2 table: ornamentals and scripts


@dataclass(frozen=True)
class Font:
    """A font file. weight: OpenType's, 400 for regular. characters: those of CHARACTERS that it has, in their order."""

    path: Path
    family: str
    style: str
    kind: Kind
    weight: int
    italic: bool
    characters: str

    @property
    def slot(self) -> tuple[bool, bool]:
        """Whether it is italic, and whether bold: a family has one font for each."""
        return self.italic, self.weight > (REGULAR + BOLD) / 2


PACKAGES = Path(str(resources.files("dp_real.data.typefaces") / "packages.csv"))
"""Debian's packages of fonts, a line each, with a file by which each is known to be installed, if it has fonts."""


def missing_packages(files: Iterable[Path]) -> list[str]:
    """The packages of PACKAGES whose files are not among these."""
    there = {path.name for path in files}
    packages = csv.reader(PACKAGES.read_text(encoding="utf-8").splitlines())
    return [package for package, font in packages if font and font not in there]


def font_files(folders: Iterable[Path]) -> list[Path]:
    """All outline fonts below the folders, in order."""
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS]


def read_font(path: Path) -> Font | None:
    """What a font file says of itself; None if it cannot be read, or is not of letters that are used here."""
    from fontTools.ttLib import TTFont

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it remarks on dates and on padding
    try:
        with open(path, "rb") as file, TTFont(file, lazy=True, fontNumber=0) as font:
            return _described(path, font)
    except Exception as error:  # what fontTools raises on a broken file depends on where it is broken
        log.warning("%s: not a font that can be read: %s; it is left out", path, error)
        return None


def _described(path: Path, font: Any) -> Font | None:
    known = font.getBestCmap() or {}
    characters = "".join(character for character in CHARACTERS if ord(character) in known)
    family, style = _named(font, (16, 1), path.stem.partition("-")[0]), _named(font, (17, 2), "")
    if len(characters) < LEAST_CHARACTERS or OTHER.search(f"{family} {style}"):
        return None
    metrics = font.get("OS/2")
    kind: Kind = "text"
    if metrics is not None:
        kind = PANOSE.get(metrics.panose.bFamilyType) or FAMILY_CLASS.get(metrics.sFamilyClass >> 8) or kind
    kind = "display" if DISPLAY.search(family) else "handwriting" if HANDWRITING.search(family) else kind
    italic = bool(font["head"].macStyle & 2) or bool(re.search(r"italic|oblique|slanted", style, re.I))
    weight = metrics.usWeightClass if metrics is not None else BOLD if font["head"].macStyle & 1 else REGULAR
    return Font(path, family, style, kind, weight, italic, characters)


def _named(font: Any, numbers: Sequence[int], otherwise: str) -> str:
    """The first of these entries of the name table that has a letter in it."""
    table = font.get("name")
    names = (table.getDebugName(number) for number in numbers) if table is not None else ()
    return next((name.strip() for name in names if name and any(map(str.isalpha, name))), otherwise)


def pick_styles(fonts: Iterable[Font]) -> list[Font]:
    """Up to four fonts of a family: regular, bold, italic and bold italic, those nearest to the usual weights.

    Of equally near ones it is that with the most characters, then with the shortest name, which is the plainest.
    """
    slots: dict[tuple[str, bool, bool], list[Font]] = defaultdict(list)
    for font in fonts:
        slots[font.family, *font.slot].append(font)
    return [min(slots[slot], key=_oddness) for slot in sorted(slots)]


def _oddness(font: Font) -> tuple[int, int, int, str]:
    usual = BOLD if font.slot[1] else REGULAR
    return abs(font.weight - usual), -len(font.characters), len(font.style), str(font.path)
