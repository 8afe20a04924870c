"""Draws characters: white on black, cropped to the ink, all of one size."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dp_real.data.typefaces.characters import CHARACTERS
from dp_real.data.typefaces.fonts import Font

POINTS = 80  # the size that fonts are drawn at, before they are cropped and shrunk
SIDE, INK = 32, 26  # pixels a side of an image, and of the square that its ink is fitted into
SMALL = 12  # pixels a side of `stretched`
PLACES = {character: place for place, character in enumerate(CHARACTERS)}


def draw_font(font: Font) -> np.ndarray:
    """The characters of a font, uint8 [CHARACTERS, SIDE, SIDE]; all 0 where it has none.

    Characters of one font that look the same to the last byte, such as boxes in place of missing ones, are left out.
    A font that FreeType cannot draw has none.
    """
    images = np.zeros((len(CHARACTERS), SIDE, SIDE), np.uint8)
    try:
        face = ImageFont.truetype(font.path, POINTS, layout_engine=ImageFont.Layout.BASIC)
        for character in font.characters:
            images[PLACES[character]] = _draw(face, character)
    except (OSError, ValueError):  # a broken table, or an outline of a size beyond all bounds
        return np.zeros_like(images)
    _, inverse, counts = np.unique(images, axis=0, return_inverse=True, return_counts=True)
    images[counts[inverse] > 1] = 0
    return images


def _draw(face: ImageFont.FreeTypeFont, character: str) -> np.ndarray:
    """One character, centred; black if it has no ink."""
    canvas = Image.new("L", (SIDE, SIDE))
    left, top, right, bottom = map(round, face.getbbox(character))
    drawn = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(drawn).text((-left, -top), character, fill=255, font=face)
    box = drawn.getbbox()
    if box:
        ink = drawn.crop(box)
        width, height = (max(1, round(side * INK / max(ink.size))) for side in ink.size)
        ink = ink.resize((width, height), Image.Resampling.BOX if max(ink.size) > INK else Image.Resampling.BICUBIC)
        canvas.paste(ink, ((SIDE - width) // 2, (SIDE - height) // 2))
    return np.asarray(canvas)


def stretched(image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """The ink of an image [SIDE, SIDE], which has some, stretched to [SMALL, SMALL]; and its width and height."""
    rows, columns = (np.flatnonzero(image.max(axis)) for axis in (1, 0))
    ink = Image.fromarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return np.asarray(ink.resize((SMALL, SMALL), Image.Resampling.BOX)), ink.size
