"""Groups of families that nearly coincide, so that no two sides of a split share a design."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

COINCIDE = 0.97  # the mean cosine of two families' characters beyond which they are of one group
SAME = 0.99  # likewise, of two fonts of a group of which one is left out


def likeness(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The mean cosine, over the characters that both have, of fonts [n, C, S, S] and [m, C, S, S]: float [n, m].

    Images are averaged over 2 x 2 pixels first, which forgives a shift of a fraction of a pixel.
    """
    mine, theirs = _unit(images), _unit(others)
    there, here = (np.asarray(part.any(2), np.float32) for part in (mine, theirs))
    both = there @ here.T
    products = mine.reshape(len(mine), -1) @ theirs.reshape(len(theirs), -1).T
    return np.divide(products, both, where=both > 0, out=np.zeros_like(both))


def _unit(images: np.ndarray) -> np.ndarray:
    n, characters, side, _ = images.shape
    small = images.reshape(n, characters, side // 2, 2, side // 2, 2).mean((3, 5), dtype=np.float32)
    flat = small.reshape(n, characters, -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1e-6)


def group_families(names: Sequence[str], images: np.ndarray) -> np.ndarray:
    """The group of each family, int [n]: families of one group nearly coincide, or share their first name.

    names: of the families. images: of a font of each, [n, C, S, S].
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first: dict[str, int] = {}
    named = [first.setdefault(first_name(name), place) for place, name in enumerate(names)]
    alike, other = np.nonzero(likeness(images, images) > COINCIDE)
    rows, columns = np.r_[np.arange(len(names)), alike], np.r_[named, other]
    return connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(names),) * 2))[1]


def first_name(family: str) -> str:
    """The first word of a family's name, which relatives share: Noto Sans and Noto Serif."""
    return re.split(r"[\s_-]+", family.strip())[0].casefold()


def different(images: np.ndarray) -> list[int]:
    """The rows of fonts [n, C, S, S], in order, that differ from all rows before them."""
    alike, chosen = likeness(images, images), []
    for row in range(len(images)):
        if not chosen or alike[row, chosen].max() < SAME:
            chosen.append(row)
    return chosen
