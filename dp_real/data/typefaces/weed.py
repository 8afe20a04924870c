"""Tells fonts that cannot serve: small letters drawn as capitals, and characters that cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dp_real.data.typefaces.characters import CASES
from dp_real.data.typefaces.draw import INK, PLACES, SMALL, stretched

ALIKE = 0.65  # the correlation of a small letter and its capital beyond which they are one; ordinary fonts have 0.35
FOLDS = 5


def features(images: np.ndarray) -> np.ndarray:
    """Simple features of images [n, SIDE, SIDE]: float32 [n, SMALL * SMALL + 3].

    The stretched ink, its width, its height, and their ratio. An image without ink has zeros.
    """
    found = np.zeros((len(images), SMALL * SMALL + 3), np.float32)
    for row in np.flatnonzero(images.any((1, 2))):
        ink, (width, height) = stretched(images[row])
        found[row] = [*(ink.ravel() / np.float32(255)), width / INK, height / INK, width / height]
    return found


def is_unicase(of_font: np.ndarray) -> bool:
    """Whether small letters are drawn as capitals, from the features [CHARACTERS, d] of a font.

    The median correlation of stretched small letters and capitals decides. Pairs that the font lacks do not count; a
    font that lacks all cannot serve, either.
    """
    ink = of_font[:, : SMALL * SMALL]
    pairs = [(ink[PLACES[small]], ink[PLACES[capital]]) for small, capital in CASES]
    alike = [np.corrcoef(small, capital)[0, 1] for small, capital in pairs if small.std() and capital.std()]
    return not alike or float(np.median(alike)) > ALIKE


def read_by_others(of_fonts: np.ndarray, groups: Sequence[int]) -> np.ndarray:
    """Which characters of each font a ridge classifier reads right: bool [n, CHARACTERS].

    of_fonts: the features [n, CHARACTERS, d]. groups: of families that are alike, [n]; the classifier was fitted to the
    other groups, in FOLDS parts. Where there are fewer groups than parts, all that there is counts as read.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GroupKFold

    there = np.asarray(of_fonts.any(2))
    if len(set(groups)) < FOLDS:
        return there
    font, label = there.nonzero()
    x, group = of_fonts[font, label], np.asarray(groups)[font]
    right = np.zeros_like(there)
    for others, own in GroupKFold(FOLDS).split(x, label, group):
        reader = RidgeClassifier(alpha=10.0).fit(x[others], label[others])
        right[font[own], label[own]] = reader.predict(x[own]) == label[own]
    return right


def shares(right: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The share of the characters that a font has which are read right, from bool [n, C]: float64 [n]; 1 of none."""
    return np.where(there.any(1), right.sum(1) / np.maximum(1, there.sum(1)), 1.0)
