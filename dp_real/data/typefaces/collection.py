"""The collection: all fonts that serve, drawn once and kept in the user's cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dp_base.checksums import json_digest, read_json, reading
from dp_base.files import write_json
from dp_base.progress import Progress
from dp_base.workers import in_parallel
from dp_real.data.typefaces.characters import BEYOND_ASCII
from dp_real.data.typefaces.draw import draw_font
from dp_real.data.typefaces.fonts import LEAST_CHARACTERS, Font, Kind, pick_styles, read_font
from dp_real.data.typefaces.groups import different, group_families
from dp_real.data.typefaces.weed import features, is_unicase, read_by_others, shares
from dp_real.runtime.cache import cached
from dp_real.runtime.processes import own_cores

RECIPE = 1  # raise it when the images change
LEGIBLE: dict[Kind, float] = {"text": 0.55, "handwriting": 0.25, "display": 0.25}
"""The least share of a font's characters that a classifier of other families must read."""
MOSTLY = 0.5


@dataclass(frozen=True)
class Face:
    """A font of the collection. group: of families that nearly coincide, or share a first name."""

    file: str
    family: str
    style: str
    kind: Kind
    group: int


@dataclass(frozen=True)
class Collection:
    """Fonts and their characters. images: uint8 [n, CHARACTERS, SIDE, SIDE], all 0 where a font has no such one."""

    faces: list[Face]
    images: np.ndarray


def collect(files: Sequence[Path], progress: Progress) -> Collection:
    """The collection of these font files, from the cache, or drawn now, in a minute or two.

    A file is known by its name, size and time of change. Raises MissingError if the cache cannot be written to.
    """

    def make(folder: Path) -> None:
        from safetensors.numpy import save_file

        made = draw(files, progress)
        save_file({"images": made.images}, folder / "images.safetensors")
        write_json(folder / "faces.json", {"faces": [vars(face) for face in made.faces]})

    files = list({path.resolve(): path for path in files}.values())  # some are linked to from other packages
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    known = json_digest(states)
    folder = cached("glyphs", {"recipe": RECIPE, "fonts": len(files), "files": known}, make)
    from safetensors.numpy import load_file

    with reading(folder, f"remove {folder}, and it is made again"):
        faces = [Face(**face) for face in read_json(folder / "faces.json")["faces"]]
        return Collection(faces, load_file(folder / "images.safetensors")["images"])


def draw(files: Sequence[Path], progress: Progress) -> Collection:
    """Read, pick, draw and weed out fonts, and group their families."""
    workers = min(own_cores(), 1 + len(files) // 100)  # processes take seconds to start
    with progress("reading fonts", len(files)) as advance:
        read = []
        for font in in_parallel(workers, read_font, [(path,) for path in files], batch_size=32):
            read.append(font)
            advance(1)
    fonts = pick_styles(filter(None, read))
    with progress("drawing fonts", len(fonts)) as advance:
        found = []
        for images, traits in in_parallel(workers, _drawn, [(font,) for font in fonts], batch_size=8):
            found.append((images, traits))
            advance(1)
    usable = [row for row, (_, traits) in enumerate(found) if traits is not None]
    return _weeded(
        [fonts[row] for row in usable],
        np.stack([found[row][0] for row in usable]) if usable else np.zeros((0, 0, 0, 0), np.uint8),
        np.stack([found[row][1] for row in usable]) if usable else np.zeros((0, 0, 0), np.float32),
    )


def _drawn(font: Font) -> tuple[np.ndarray, np.ndarray | None]:
    """The images of a font and their features; None if it has too few characters, or small letters like capitals."""
    images = draw_font(font)
    traits = features(images)
    usable = images.any((1, 2)).sum() >= LEAST_CHARACTERS and not is_unicase(traits)
    return images, traits if usable else None


def _weeded(fonts: Sequence[Font], images: np.ndarray, traits: np.ndarray) -> Collection:
    """The fonts that are legible, and differ from the others of their group.

    Signs beyond ASCII of which a font's are mostly not read right are left out: it has other letters in their places.
    """
    if not fonts:
        return Collection([], images)
    families = list(dict.fromkeys(font.family for font in fonts))
    firsts = [next(row for row, font in enumerate(fonts) if font.family == family) for family in families]
    group_of = dict(zip(families, group_families(families, images[firsts]).tolist(), strict=True))
    groups = [group_of[font.family] for font in fonts]
    right, there = read_by_others(traits, groups), np.asarray(traits.any(2))
    doubtful = shares(right[:, BEYOND_ASCII], there[:, BEYOND_ASCII]) < MOSTLY
    images[:, BEYOND_ASCII] *= ~doubtful[:, None, None, None]
    members: dict[int, list[int]] = defaultdict(list)
    for row, share in enumerate(shares(right, there)):
        if share >= LEGIBLE[fonts[row].kind]:
            members[groups[row]].append(row)
    kept = [rows[place] for rows in members.values() for place in different(images[rows])]
    faces = [Face(fonts[row].path.name, *_titles(fonts[row]), groups[row]) for row in kept]
    return Collection(faces, images[kept])


def _titles(font: Font) -> tuple[str, str, Kind]:
    return font.family, font.style, font.kind
