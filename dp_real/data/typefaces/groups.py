"""Groups of families that nearly coincide, so that no design is on two sides of a split."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

COINCIDE = 0.97  # mean cosine of two families' characters beyond which the families are of one group
SAME = 0.99  # mean cosine of two fonts of a group beyond which one of them is left out


def likeness(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the mean cosine of the characters that both fonts have, float [n, m], from [n, C, S, S] and [m, C, S, S].

    Images are averaged over 2 x 2 pixels first, which makes the cosine tolerate a shift of a fraction of a pixel.
    """
    unit_images = _unit_vectors(images)
    unit_others = _unit_vectors(others)
    images_have = np.asarray(unit_images.any(2), np.float32)
    others_have = np.asarray(unit_others.any(2), np.float32)
    both_have = images_have @ others_have.T
    products = unit_images.reshape(len(images), -1) @ unit_others.reshape(len(others), -1).T
    return np.divide(products, both_have, where=both_have > 0, out=np.zeros_like(both_have))


def _unit_vectors(images: np.ndarray) -> np.ndarray:
    """Average images [n, C, S, S] over 2 x 2 pixels, and scale each character to norm 1, float32 [n, C, S * S / 4]."""
    n, characters, side, _ = images.shape
    small = images.reshape(n, characters, side // 2, 2, side // 2, 2).mean((3, 5), dtype=np.float32)
    flat = small.reshape(n, characters, -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1e-6)


def group_families(names: Sequence[str], images: np.ndarray) -> np.ndarray:
    """Return the group of each family, int [n], by its name and the images [n, C, S, S] of one of its fonts.

    Families of one group nearly coincide, or share their first name.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # The graph links each family to the first one that shares its first name, and to those that look like it.
    first: dict[str, int] = {}
    namesakes = [first.setdefault(first_name(name), place) for place, name in enumerate(names)]
    alike, other = np.nonzero(likeness(images, images) > COINCIDE)
    rows = np.r_[np.arange(len(names)), alike]
    columns = np.r_[namesakes, other]
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(names), len(names)))
    _, groups = connected_components(graph)
    return groups


def first_name(family: str) -> str:
    """Return the first word of a family's name, which relatives share: Noto Sans and Noto Serif."""
    return re.split(r"[\s_-]+", family.strip())[0].casefold()


def different(images: np.ndarray) -> list[int]:
    """Return the rows of fonts [n, C, S, S], in order, that differ from all chosen rows before them."""
    alike = likeness(images, images)
    chosen: list[int] = []
    for row in range(len(images)):
        if not chosen or alike[row, chosen].max() < SAME:
            chosen.append(row)
    return chosen
