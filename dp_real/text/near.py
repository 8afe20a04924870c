"""Which texts are nearly alike: MinHash (Broder 1997) of their trigrams, with locality-sensitive hashing.

Likeness is the Jaccard similarity of trigrams: .8 for a sentence of which a word in ten was changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from dp_real.examples import ExampleArray
from dp_real.text.codes import texts_of

BANDS = 32
ROWS = 4  # of 128 hashes: pairs of likeness .8 meet in a band with probability 1 - (1 - .8⁴)³² > 1 - 1e-7
PRIME = 2**31 - 1
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio, which is odd
BLOCK = 256  # texts that are hashed together: 100 MB for texts of a few hundred characters


class NearTexts:
    """Texts seen so far, no two alike by `likeness`, in (0, 1], or more."""

    def __init__(self, likeness: float) -> None:
        self.likeness = likeness
        options: Any = {"norm": None, "alternate_sign": False}  # its types do not know that norm may be None
        self._shingles = HashingVectorizer(
            analyzer="char", ngram_range=(3, 3), n_features=2**22, binary=True, **options
        )
        draw = np.random.default_rng(0)
        self._factor, self._offset = draw.integers(1, PRIME, (2, BANDS * ROWS, 1), np.int64)
        self._sets: list[np.ndarray] = []
        self._meeting: dict[int, int] = {}  # key of a band and its hashes -> the first text there

    def values(self, x: ExampleArray) -> list[str]:
        return texts_of(x)

    def add(self, texts: Sequence[str]) -> np.ndarray:
        """Which are nearly one seen before, bool [n]. The others are seen from now on."""
        return np.array([self._near(*hashed, remember=True) for hashed in self._hashed(texts)], bool)

    def like(self, texts: Sequence[str]) -> np.ndarray:
        """As `add`, but none is seen."""
        return np.array([self._near(*hashed, remember=False) for hashed in self._hashed(texts)], bool)

    def _hashed(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, list[int]]]:
        """Each text's sorted trigrams, and a key of 64 bits per band."""
        for start in range(0, len(texts), BLOCK):
            framed = [f"\2\2{' '.join(text.split())}\3" for text in texts[start : start + BLOCK]]
            sets: Any = self._shingles.transform(framed)
            sets.sort_indices()
            hashes = np.minimum.reduceat((self._factor * sets.indices + self._offset) % PRIME, sets.indptr[:-1], axis=1)
            bands = hashes.T.reshape(len(framed), BANDS, ROWS).astype(np.uint64)
            keys = np.broadcast_to(np.arange(BANDS, dtype=np.uint64), bands.shape[:2])
            for row in range(ROWS):
                keys = keys * MIX + bands[:, :, row]  # modulo 2^64
            for row in range(len(framed)):
                yield sets.indices[sets.indptr[row] : sets.indptr[row + 1]], keys[row].tolist()

    def _near(self, mine: np.ndarray, keys: list[int], remember: bool) -> bool:
        for other in dict.fromkeys(self._meeting[key] for key in keys if key in self._meeting):
            shared = len(np.intersect1d(mine, self._sets[other], assume_unique=True))
            if shared >= self.likeness * (len(mine) + len(self._sets[other]) - shared):
                return True
        if remember:
            for key in keys:
                self._meeting.setdefault(key, len(self._sets))
            self._sets.append(mine)
        return False
