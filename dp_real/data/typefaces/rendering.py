"""Draws characters, white on black. They are cropped to the ink and scaled to one size."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dp_real.data.typefaces.characters import CHARACTERS
from dp_real.data.typefaces.fonts import Font

POINTS = 80  # size at which fonts are drawn, before they are cropped and shrunk
SIDE = 32  # pixels a side of an image
INK = 26  # pixels a side of the square that the ink is fitted into
SMALL = 12  # pixels a side of what `stretched` returns
PLACES = {character: place for place, character in enumerate(CHARACTERS)}


def draw_font(font: Font) -> np.ndarray:
    """Draw a font as uint8 [CHARACTERS, SIDE, SIDE]. A character that it does not have is all 0.

    Characters that look exactly the same, such as boxes in place of missing ones, are left out. A font that FreeType
    cannot draw has none.
    """
    images = np.zeros((len(CHARACTERS), SIDE, SIDE), np.uint8)
    try:
        face = ImageFont.truetype(font.path, POINTS, layout_engine=ImageFont.Layout.BASIC)
        for character in font.characters:
            images[PLACES[character]] = _draw(face, character)
    except (OSError, ValueError):  # a table is broken, or an outline is larger than Pillow allows
        return np.zeros_like(images)
    _, inverse, counts = np.unique(images, axis=0, return_inverse=True, return_counts=True)
    images[counts[inverse] > 1] = 0
    return images


def _draw(face: ImageFont.FreeTypeFont, character: str) -> np.ndarray:
    """Draw one character, centred, uint8 [SIDE, SIDE], black if it has no ink."""
    canvas = Image.new("L", (SIDE, SIDE))
    left, top, right, bottom = (round(edge) for edge in face.getbbox(character))
    drawn = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(drawn).text((-left, -top), character, fill=255, font=face)
    box = drawn.getbbox()
    if box:
        ink = drawn.crop(box)
        longer = max(ink.size)
        width = max(1, round(ink.width * INK / longer))
        height = max(1, round(ink.height * INK / longer))
        filter_ = Image.Resampling.BOX if longer > INK else Image.Resampling.BICUBIC
        ink = ink.resize((width, height), filter_)
        canvas.paste(ink, ((SIDE - width) // 2, (SIDE - height) // 2))
    return np.asarray(canvas)


def stretched(image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Stretch the ink of an image [SIDE, SIDE], which must have some, to [SMALL, SMALL].

    Also return the ink's width and height in pixels.
    """
    rows = np.flatnonzero(image.max(1))
    columns = np.flatnonzero(image.max(0))
    ink = Image.fromarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return np.asarray(ink.resize((SMALL, SMALL), Image.Resampling.BOX)), ink.size
