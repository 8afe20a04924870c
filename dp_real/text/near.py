"""Which texts are nearly alike: MinHash (Broder 1997) of their trigrams, with locality-sensitive hashing.

Likeness is the Jaccard similarity of trigrams: .8 for a sentence of which a word in ten was changed.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from dp_real.text.codes import texts_of

BANDS = 32
ROWS = 4  # of 128 hashes: pairs of likeness .8 meet in a band with probability 1 - (1 - .8⁴)³² > 1 - 1e-7
PRIME = 2**31 - 1
BLOCK = 256  # texts that are hashed together: 100 MB for texts of a few hundred characters


class NearTexts:
    """Texts seen so far, no two alike by `likeness`, in (0, 1], or more."""

    def __init__(self, likeness: float) -> None:
        self.likeness = likeness
        self._shingles = HashingVectorizer(analyzer="char", ngram_range=(3, 3), n_features=2**22)
        draw = np.random.default_rng(0)
        self._factor, self._offset = draw.integers(1, PRIME, (2, BANDS * ROWS, 1), np.int64)
        self._meeting: dict[int, np.ndarray] = {}  # key of a band and its hashes -> trigrams of the first text there

    values = staticmethod(texts_of)

    def add(self, texts: Sequence[str]) -> np.ndarray:
        """Which are nearly one seen before, bool [n]. The others are seen from now on."""
        return self._compared(texts, remember=True)

    def like(self, texts: Sequence[str]) -> np.ndarray:
        """As `add`, but none is seen."""
        return self._compared(texts, remember=False)

    def _compared(self, texts: Sequence[str], remember: bool) -> np.ndarray:
        found = []
        for trigrams, keys in self._hashed(texts):
            others = [self._meeting[key] for key in keys if key in self._meeting]
            found.append(any(self._is_like(trigrams, other) for other in others))
            if remember and not found[-1]:
                for key in keys:
                    self._meeting.setdefault(key, trigrams)
        return np.array(found, bool)

    def _is_like(self, one: np.ndarray, other: np.ndarray) -> bool:
        shared = len(np.intersect1d(one, other, assume_unique=True))
        return shared >= self.likeness * (len(one) + len(other) - shared)

    def _hashed(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, list[int]]]:
        """Each text's sorted trigrams, and a key of 64 bits per band."""
        for start in range(0, len(texts), BLOCK):
            framed = [f"\2\2{' '.join(text.split())}\3" for text in texts[start : start + BLOCK]]
            sets: Any = self._shingles.transform(framed)
            hashes = np.minimum.reduceat((self._factor * sets.indices + self._offset) % PRIME, sets.indptr[:-1], axis=1)
            bands = hashes.T.reshape(len(framed), BANDS, ROWS).tolist()
            for trigrams, rows in zip(np.split(sets.indices, sets.indptr[1:-1]), bands, strict=True):
                yield trigrams, [hash((band, *row)) for band, row in enumerate(rows)]
