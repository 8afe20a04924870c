"""Finds fonts that cannot be used: those that draw small letters as capitals, and those that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dp_real.data.typefaces.characters import CASES
from dp_real.data.typefaces.rendering import INK, PLACES, SMALL, stretched

ALIKE = 0.65  # correlation of a small letter and its capital beyond which they count as one; ordinary fonts have 0.35
FOLDS = 5


def features(images: np.ndarray) -> np.ndarray:
    """Return the stretched ink of images [n, SIDE, SIDE], its width, height and their ratio, in float32.

    They are [n, SMALL * SMALL + 3]. An image without ink has zeros.
    """
    found = np.zeros((len(images), SMALL * SMALL + 3), np.float32)
    for row in np.flatnonzero(images.any((1, 2))):
        ink, (width, height) = stretched(images[row])
        found[row] = [*(ink.ravel() / np.float32(255)), width / INK, height / INK, width / height]
    return found


def is_unicase(traits: np.ndarray) -> bool:
    """Whether a font draws small letters as capitals, by the median correlation of its features [CHARACTERS, features].

    Pairs that the font lacks do not count. A font that lacks all of them cannot be used either, so this is true of it.
    """
    ink = traits[:, : SMALL * SMALL]
    correlations = []
    for small, capital in CASES:
        small_ink = ink[PLACES[small]]
        capital_ink = ink[PLACES[capital]]
        if small_ink.std() and capital_ink.std():
            correlations.append(np.corrcoef(small_ink, capital_ink)[0, 1])
    return not correlations or float(np.median(correlations)) > ALIKE


def read_by_others(traits: np.ndarray, groups: Sequence[int]) -> np.ndarray:
    """Return which characters of each font a ridge classifier reads right, bool [n, CHARACTERS].

    The features are [n, CHARACTERS, features], the groups of families that are alike [n]. Groups are divided into FOLDS
    parts, and each is read by a classifier that was fitted to the others. With fewer groups than parts, every character
    that a font has counts as read.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GroupKFold

    is_there = np.asarray(traits.any(2))
    if len(set(groups)) < FOLDS:
        return is_there
    font, label = is_there.nonzero()
    x = traits[font, label]
    group = np.asarray(groups)[font]
    is_read = np.zeros_like(is_there)
    for others, own in GroupKFold(FOLDS).split(x, label, group):
        reader = RidgeClassifier(alpha=10.0).fit(x[others], label[others])
        is_read[font[own], label[own]] = reader.predict(x[own]) == label[own]
    return is_read


def shares(is_read: np.ndarray, is_there: np.ndarray) -> np.ndarray:
    """Return the share of each font's characters that are read right, float64 [n], from bool [n, C].

    A font without any of these characters has a share of 1.
    """
    return np.where(is_there.any(1), is_read.sum(1) / np.maximum(1, is_there.sum(1)), 1.0)
