"""The collection: all fonts that can be used, drawn once and kept in the user's cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dp_base.checksums import json_digest
from dp_base.files import write_json
from dp_base.progress import Progress
from dp_base.reading import own_file, read_json
from dp_base.workers import in_parallel
from dp_real.data.typefaces.characters import BEYOND_ASCII
from dp_real.data.typefaces.fonts import LEAST_CHARACTERS, Font, Kind, pick_styles, read_font
from dp_real.data.typefaces.groups import different, group_families
from dp_real.data.typefaces.rendering import draw_font
from dp_real.data.typefaces.weed import features, is_unicase, read_by_others, shares
from dp_real.distributed import own_cores
from dp_real.runtime.cache import cached

RECIPE = 1  # raise it when the images change
LEGIBLE: dict[Kind, float] = {"text": 0.55, "handwriting": 0.25, "display": 0.25}
"""The least share of a font's characters that a classifier of other families must read, by the kind of the font."""
MOSTLY = 0.5  # share of a font's signs beyond ASCII that must be read, so that these signs are used
FILES_PER_WORKER = 100  # with fewer, starting a process takes longer than the work


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
    """Fonts and their characters, uint8 [fonts, CHARACTERS, SIDE, SIDE]. One that a font does not have is all 0."""

    faces: list[Face]
    images: np.ndarray


def collect(files: Sequence[Path], progress: Progress) -> Collection:
    """Return the collection from the cache, or draw it now, which takes less than a minute.

    A file is known by its name, its size, and the time of its last change. Raises MissingError if the cache cannot be
    written to.
    """
    from safetensors.numpy import load_file, save_file

    def make(folder: Path) -> None:
        drawn = draw(different_files, progress)
        save_file({"images": drawn.images}, folder / "images.safetensors")
        write_json(folder / "faces.json", {"faces": [vars(face) for face in drawn.faces]})

    # Packages link to fonts of others.
    different_files = list({path.resolve(): path for path in files}.values())
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in different_files]
    depends = {"recipe": RECIPE, "fonts": len(different_files), "files": json_digest(states)}
    folder = cached("glyphs", depends, make)
    with own_file(folder, f"remove {folder}, and it is made again"):
        faces = [Face(**face) for face in read_json(folder / "faces.json")["faces"]]
        return Collection(faces, load_file(folder / "images.safetensors")["images"])


def draw(files: Sequence[Path], progress: Progress) -> Collection:
    """Read, pick, draw and weed out fonts, and group their families."""
    workers = min(own_cores(), 1 + len(files) // FILES_PER_WORKER)
    fonts = pick_styles(_read_fonts(files, workers, progress))
    drawn = _draw_fonts(fonts, workers, progress)
    usable = [(font, each) for font, each in zip(fonts, drawn, strict=True) if each.usable]
    if not usable:
        return Collection([], np.zeros((0, 0, 0, 0), np.uint8))
    return _weed(
        [font for font, _ in usable],
        np.stack([each.images for _, each in usable]),
        np.stack([each.traits for _, each in usable]),
    )


@dataclass(frozen=True)
class DrawnFont:
    """The characters of one font, their features, and whether the font can be used."""

    images: np.ndarray  # uint8 [CHARACTERS, SIDE, SIDE]
    traits: np.ndarray  # float32 [CHARACTERS, features]
    usable: bool


def _read_fonts(files: Sequence[Path], workers: int, progress: Progress) -> list[Font]:
    """Files that are no fonts are left out."""
    fonts: list[Font] = []
    with progress("reading fonts", len(files)) as advance:
        for font in in_parallel(workers, read_font, [(path,) for path in files], batch_size=32):
            if font is not None:
                fonts.append(font)
            advance(1)
    return fonts


def _draw_fonts(fonts: Sequence[Font], workers: int, progress: Progress) -> list[DrawnFont]:
    drawn: list[DrawnFont] = []
    with progress("drawing fonts", len(fonts)) as advance:
        for each in in_parallel(workers, _draw, [(font,) for font in fonts], batch_size=8):
            drawn.append(each)
            advance(1)
    return drawn


def _draw(font: Font) -> DrawnFont:
    """A font cannot be used if it has too few characters, or draws small letters as capitals."""
    images = draw_font(font)
    traits = features(images)
    usable = images.any((1, 2)).sum() >= LEAST_CHARACTERS and not is_unicase(traits)
    return DrawnFont(images, traits, bool(usable))


def _weed(fonts: Sequence[Font], images: np.ndarray, traits: np.ndarray) -> Collection:
    """Keep the fonts that are legible and differ from the others of their group.

    `images` are uint8 [fonts, CHARACTERS, SIDE, SIDE] and `traits` float32 [fonts, CHARACTERS, features]. If most of a
    font's signs beyond ASCII are not read right, it has other letters there, which are set to 0 in `images`.
    """
    groups = _group(fonts, images)
    is_read = read_by_others(traits, groups)
    is_there = np.asarray(traits.any(2))
    doubtful = shares(is_read[:, BEYOND_ASCII], is_there[:, BEYOND_ASCII]) < MOSTLY
    images[:, BEYOND_ASCII] *= ~doubtful[:, None, None, None]
    legible: dict[int, list[int]] = defaultdict(list)  # rows of fonts, by group
    for row, share in enumerate(shares(is_read, is_there)):
        if share >= LEGIBLE[fonts[row].kind]:
            legible[groups[row]].append(row)
    kept = [rows[place] for rows in legible.values() for place in different(images[rows])]
    faces = []
    for row in kept:
        font = fonts[row]
        faces.append(Face(font.path.name, font.family, font.style, font.kind, groups[row]))
    return Collection(faces, images[kept])


def _group(fonts: Sequence[Font], images: np.ndarray) -> list[int]:
    """Families are compared by their first fonts."""
    first_rows: dict[str, int] = {}
    for row, font in enumerate(fonts):
        first_rows.setdefault(font.family, row)
    families = list(first_rows)
    family_groups = group_families(families, images[list(first_rows.values())]).tolist()
    group_of = dict(zip(families, family_groups, strict=True))
    return [group_of[font.family] for font in fonts]
