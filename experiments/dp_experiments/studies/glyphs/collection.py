"""Characters of the fonts, drawn and cached."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dp_base.checksums import json_digest
from dp_base.progress import progress
from dp_base.reading import own_file
from dp_base.workers import in_parallel
from dp_experiments.studies.glyphs.fonts import BEYOND_ASCII, CHARACTERS, Face, letters_of
from dp_real.runtime.cache import cached
from dp_real.runtime.distributed import own_cores

RECIPE = 1  # raise it when the images change
POINTS = 80  # size at which fonts are drawn, before they are cropped and shrunk
SIDE = 32  # pixels a side of an image
INK = 26  # pixels a side of the square that the ink is fitted into


def collect(faces: Sequence[Face]) -> np.ndarray:
    """The characters of fonts, uint8 [fonts, CHARACTERS, SIDE, SIDE]; missing ones are all 0.

    They are cached by each file's name, size and time; to draw them takes less than a minute.
    """
    from safetensors.numpy import load_file, save_file

    def make(folder: Path) -> None:
        with progress("drawing fonts", len(faces)) as advance:
            drawn = []
            for images in in_parallel(own_cores(), draw_font, [(face,) for face in faces], batch_size=8):
                drawn.append(images)
                advance(1)
        save_file({"images": np.stack(drawn)}, folder / "images.safetensors")

    states = [(face, face.path.stat()) for face in faces]
    files = [(str(face.path), face.ascii_only, state.st_size, state.st_mtime_ns) for face, state in states]
    folder = cached("glyphs", {"recipe": RECIPE, "fonts": len(faces), "files": json_digest(files)}, make)
    with own_file(folder, f"remove {folder}, and it is made again"):
        return load_file(folder / "images.safetensors")["images"]


def draw_font(face: Face) -> np.ndarray:
    """White on black, cropped and scaled, uint8 [CHARACTERS, SIDE, SIDE]; missing or identical characters are 0."""
    images = np.zeros((len(CHARACTERS), SIDE, SIDE), np.uint8)
    known = letters_of(face.path)
    font = ImageFont.truetype(face.path, POINTS, layout_engine=ImageFont.Layout.BASIC)
    for place, character in enumerate(CHARACTERS):
        if ord(character) in known:
            images[place] = draw_character(font, character)
    _, inverse, counts = np.unique(images, axis=0, return_inverse=True, return_counts=True)
    images[counts[inverse] > 1] = 0
    if face.ascii_only:
        images[BEYOND_ASCII] = 0
    return images


def draw_character(face: ImageFont.FreeTypeFont, character: str) -> np.ndarray:
    """Cropped and fitted, uint8 [SIDE, SIDE]; 0 without ink."""
    canvas = Image.new("L", (SIDE, SIDE))
    left, top, right, bottom = (round(edge) for edge in face.getbbox(character))
    drawn = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(drawn).text((-left, -top), character, fill=255, font=face)
    box = drawn.getbbox()
    if box:
        ink = drawn.crop(box)
        longer = max(ink.size)
        width, height = (max(1, round(length * INK / longer)) for length in ink.size)
        ink = ink.resize((width, height), Image.Resampling.BOX if longer > INK else Image.Resampling.BICUBIC)
        canvas.paste(ink, ((SIDE - width) // 2, (SIDE - height) // 2))
    return np.asarray(canvas)
