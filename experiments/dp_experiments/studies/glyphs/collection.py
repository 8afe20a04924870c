"""Characters of all fonts that serve, drawn, weeded out, grouped and cached."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dp_base.checksums import json_digest
from dp_base.files import write_json
from dp_base.progress import Progress
from dp_base.reading import own_file, read_json
from dp_base.workers import in_parallel
from dp_experiments.studies.glyphs.fonts import (
    BEYOND_ASCII,
    CASES,
    CHARACTERS,
    MIN_CHARACTERS,
    Font,
    Kind,
    pick_styles,
    read_font,
)
from dp_real.runtime.cache import cached
from dp_real.runtime.distributed import own_cores

RECIPE = 1  # raise it when the images change
FILES_PER_WORKER = 100  # with fewer, starting a process takes longer than the work
PLACES = {character: place for place, character in enumerate(CHARACTERS)}

POINTS = 80  # size at which fonts are drawn, before they are cropped and shrunk
SIDE = 32  # pixels a side of an image
INK = 26  # pixels a side of the square that the ink is fitted into
SMALL = 12  # pixels a side of the ink in `features`

ALIKE = 0.65  # correlation of a small letter and its capital beyond which they count as one; ordinary fonts have 0.35
FOLDS = 5
LEGIBLE: dict[Kind, float] = {"text": 0.55, "handwriting": 0.25, "display": 0.25}
"""The least share of a font's characters that a classifier of other families must read, by the kind of the font."""
MOSTLY = 0.5  # share of a font's signs beyond ASCII that must be read, so that these signs are used

COINCIDE = 0.97  # mean cosine of two families' characters beyond which the families are of one group
SAME = 0.99  # mean cosine of two fonts of a group beyond which one of them is left out


@dataclass(frozen=True)
class Face:
    """A font of the collection. Families of one group nearly coincide, or share a first name."""

    file: str
    family: str
    style: str
    kind: Kind
    group: int


@dataclass(frozen=True)
class Collection:
    """Fonts and their characters, uint8 [fonts, CHARACTERS, SIDE, SIDE]; missing ones are all 0."""

    faces: list[Face]
    images: np.ndarray


def collect(files: Sequence[Path], progress: Progress) -> Collection:
    """The collection is cached by each file's name, size and time; to draw it takes less than a minute."""
    from safetensors.numpy import load_file, save_file

    def make(folder: Path) -> None:
        drawn = draw(different_files, progress)
        save_file({"images": drawn.images}, folder / "images.safetensors")
        write_json(folder / "faces.json", {"faces": [vars(face) for face in drawn.faces]})

    different_files = list({path.resolve(): path for path in files}.values())  # packages link to fonts of others
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in different_files]
    depends = {"recipe": RECIPE, "fonts": len(different_files), "files": json_digest(states)}
    folder = cached("glyphs", depends, make)
    with own_file(folder, f"remove {folder}, and it is made again"):
        faces = [Face(**face) for face in read_json(folder / "faces.json")["faces"]]
        return Collection(faces, load_file(folder / "images.safetensors")["images"])


def draw(files: Sequence[Path], progress: Progress) -> Collection:
    workers = min(own_cores(), 1 + len(files) // FILES_PER_WORKER)

    def each(what: str, make: Callable[[Any], Any], items: Sequence[Any], batch: int) -> Iterator[Any]:
        with progress(what, len(items)) as advance:
            for made in in_parallel(workers, make, [(item,) for item in items], batch_size=batch):
                advance(1)
                yield made

    fonts = pick_styles(font for font in each("reading fonts", read_font, files, 32) if font)
    drawn = zip(fonts, each("drawing fonts", draw_usable, fonts, 8), strict=True)
    usable = [(font, *both) for font, both in drawn if both]
    if not usable:
        return Collection([], np.zeros((0, 0, 0, 0), np.uint8))
    fonts, images, traits = zip(*usable, strict=True)
    return _weed(fonts, np.stack(images), np.stack(traits))


def draw_usable(font: Font) -> tuple[np.ndarray, np.ndarray] | None:
    """A font's characters and features; None if they are too few, or small letters are drawn as capitals."""
    images = draw_font(font)
    traits = features(images)
    return None if images.any((1, 2)).sum() < MIN_CHARACTERS or is_unicase(traits) else (images, traits)


# -- drawing ----------------------------------------------------------------------------------------------------------


def draw_font(font: Font) -> np.ndarray:
    """White on black, cropped and scaled, uint8 [CHARACTERS, SIDE, SIDE]; missing or identical characters are 0."""
    images = np.zeros((len(CHARACTERS), SIDE, SIDE), np.uint8)
    try:
        face = ImageFont.truetype(font.path, POINTS, layout_engine=ImageFont.Layout.BASIC)
        for character in font.characters:
            images[PLACES[character]] = draw_character(face, character)
    except (OSError, ValueError):  # a table is broken, or an outline is larger than Pillow allows
        return np.zeros_like(images)
    _, inverse, counts = np.unique(images, axis=0, return_inverse=True, return_counts=True)
    images[counts[inverse] > 1] = 0
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


def features(images: np.ndarray) -> np.ndarray:
    """Ink stretched to a square, its width, height and ratio, float32 [n, SMALL * SMALL + 3]."""
    table = np.zeros((len(images), SMALL * SMALL + 3), np.float32)
    for row in np.flatnonzero(images.any((1, 2))):
        rows, columns = (np.flatnonzero(images[row].max(axis)) for axis in (1, 0))
        ink = Image.fromarray(images[row][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        small = np.asarray(ink.resize((SMALL, SMALL), Image.Resampling.BOX))
        table[row] = [*(small.ravel() / np.float32(255)), ink.width / INK, ink.height / INK, ink.width / ink.height]
    return table


# -- weeding out ------------------------------------------------------------------------------------------------------


def _weed(fonts: Sequence[Font], images: np.ndarray, traits: np.ndarray) -> Collection:
    """Keep legible fonts that differ within their group.

    If most signs beyond ASCII are not read right, the font has other letters there, which become 0 in `images`.
    """
    # Families are compared by their first fonts.
    names, first_rows, family = np.unique([font.family for font in fonts], return_index=True, return_inverse=True)
    groups = group_families(names.tolist(), images[first_rows])[family].tolist()
    is_read = read_by_others(traits, groups)
    is_there = np.asarray(traits.any(2))
    doubtful = shares(is_read[:, BEYOND_ASCII], is_there[:, BEYOND_ASCII]) < MOSTLY
    images[:, BEYOND_ASCII] *= ~doubtful[:, None, None, None]
    legible: dict[int, list[int]] = defaultdict(list)  # rows of fonts, by group
    for row, share in enumerate(shares(is_read, is_there)):
        if share >= LEGIBLE[fonts[row].kind]:
            legible[groups[row]].append(row)
    selected = [rows[place] for rows in legible.values() for place in different(images[rows])]
    sources = [(fonts[row], groups[row]) for row in selected]
    faces = [Face(font.path.name, font.family, font.style, font.kind, group) for font, group in sources]
    return Collection(faces, images[selected])


def is_unicase(traits: np.ndarray) -> bool:
    """Whether small letters look like capitals, by median correlation; true if the font lacks all pairs."""
    ink = traits[:, : SMALL * SMALL]
    pairs = [(ink[PLACES[small]], ink[PLACES[capital]]) for small, capital in CASES]
    correlations = [np.corrcoef(small, capital)[0, 1] for small, capital in pairs if small.std() and capital.std()]
    return not correlations or float(np.median(correlations)) > ALIKE


def read_by_others(traits: np.ndarray, groups: Sequence[int]) -> np.ndarray:
    """Which characters a ridge classifier of other groups reads right; with fewer groups than FOLDS, all."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GroupKFold, cross_val_predict

    is_there = np.asarray(traits.any(2))
    if len(set(groups)) < FOLDS:
        return is_there
    font, label = is_there.nonzero()
    reader, of_font = RidgeClassifier(alpha=10.0), np.asarray(groups)[font]
    read = cross_val_predict(reader, traits[font, label], label, groups=of_font, cv=GroupKFold(FOLDS))
    is_read = np.zeros_like(is_there)
    is_read[font, label] = read == label
    return is_read


def shares(is_read: np.ndarray, is_there: np.ndarray) -> np.ndarray:
    """The share of each font's characters that are read right; 1 if it has none."""
    return np.where(is_there.any(1), is_read.sum(1) / np.maximum(1, is_there.sum(1)), 1.0)


# -- families that nearly coincide, so that no design is on two sides of a split ---------------------------------------


def similarity(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The mean cosine [n, m] of shared characters; averaging 2 x 2 pixels first makes it tolerate small shifts."""

    def unit_vectors(images: np.ndarray) -> np.ndarray:
        n, characters, side, _ = images.shape
        small = images.reshape(n, characters, side // 2, 2, side // 2, 2).mean((3, 5), dtype=np.float32)
        flat = small.reshape(n, characters, -1)
        return flat / np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1e-6)

    own, other = unit_vectors(images), unit_vectors(others)
    both_have = np.asarray(own.any(2), np.float32) @ np.asarray(other.any(2), np.float32).T
    products = own.reshape(len(images), -1) @ other.reshape(len(others), -1).T
    return np.divide(products, both_have, where=both_have > 0, out=np.zeros_like(both_have))


def group_families(names: Sequence[str], images: np.ndarray) -> np.ndarray:
    """Families that nearly coincide, or share the first word of their name, int [n]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # The graph links each family to the first one that shares its first name, and to those that look like it.
    first: dict[str, int] = {}
    first_names = [re.split(r"[\s_-]+", name.strip())[0].casefold() for name in names]
    namesakes = [first.setdefault(name, place) for place, name in enumerate(first_names)]
    alike, other = np.nonzero(similarity(images, images) > COINCIDE)
    rows = np.r_[np.arange(len(names)), alike]
    columns = np.r_[namesakes, other]
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(names), len(names)))
    _, groups = connected_components(graph)
    return groups


def different(images: np.ndarray) -> list[int]:
    """The rows of fonts [n, C, S, S] that differ from all selected rows before them."""
    alike = similarity(images, images)
    distinct: list[int] = []
    for row in range(len(images)):
        if not distinct or alike[row, distinct].max() < SAME:
            distinct.append(row)
    return distinct
