"""Fonts for tests: DejaVu Sans, which matplotlib brings, with slanted outlines and names of our own."""

from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.subset import Subsetter
from fontTools.ttLib import TTFont

from dp_real.data.typefaces.characters import CHARACTERS

SOURCE = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
MACINTOSH = (1, 0, 0)
WINDOWS = (3, 1, 0x409)


@cache
def _plain(characters: str) -> bytes:
    """Return DejaVu Sans with these characters only. Its composite glyphs are made simple."""
    font = TTFont(SOURCE)
    subsetter = Subsetter()
    file = BytesIO()
    subsetter.options.drop_tables += ["FFTM", "GPOS", "GSUB", "kern"]
    subsetter.options.hinting = False
    subsetter.populate(text=characters)
    subsetter.subset(font)
    font.save(file)
    return file.getvalue()


def slanted(slope: float) -> Callable[[float, float], tuple[int, int]]:
    """Return a function that moves an outline's points, so that it leans by `slope` and goes a little downhill."""
    return lambda x, y: (round(x + slope * y), round(y + 0.3 * slope * x))


def make_font(
    path: Path,
    family: str,
    slope: float = 0.0,
    style: str = "Regular",
    characters: str = "".join(CHARACTERS),
    panose: int = 0,
    instead: str = "",
) -> Path:
    """Write a font. `instead` has pairs of characters, of which the first is drawn as the second."""
    font: Any = TTFont(BytesIO(_plain(characters)))
    glyphs = font.getGlyphSet()
    table = font["glyf"]
    move = slanted(slope)
    drawn = {}
    for name in font.getGlyphOrder():
        pen = TTGlyphPen(None)
        recorded = DecomposingRecordingPen(glyphs)
        glyphs[name].draw(recorded)
        moved = []
        for step, points in recorded.value:
            moved.append((step, tuple(point if point is None else move(*point) for point in points)))
        recorded.value = moved
        recorded.replay(pen)
        drawn[name] = pen.glyph()
    for name, glyph in drawn.items():
        table[name] = glyph
    names = font.getBestCmap()
    for shown, drawn_as in zip(instead[::2], instead[1::2], strict=True):
        table[names[ord(shown)]] = table[names[ord(drawn_as)]]
        font["hmtx"][names[ord(shown)]] = font["hmtx"][names[ord(drawn_as)]]
    for number, text in ((1, family), (2, style), (16, family), (17, style)):
        for platform in (MACINTOSH, WINDOWS):
            font["name"].setName(text, number, *platform)
    font["OS/2"].panose.bFamilyType = panose
    font["OS/2"].usWeightClass = 700 if "Bold" in style else 400
    path.parent.mkdir(parents=True, exist_ok=True)
    font.save(path)
    return path
