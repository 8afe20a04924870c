"""Near-duplicates of texts, by MinHash (Broder 1997) of trigrams with locality-sensitive hashing.

Similarity is the Jaccard index of trigrams: .8 if one word in ten of a sentence was changed.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dp_real.text.codes import texts_of

BANDS = 32
ROWS = 4  # of 128 hashes; pairs of similarity .8 meet in a band with probability 1 - (1 - .8⁴)³² > 1 - 1e-7
PRIME = 2**31 - 1


class NearTexts:
    """A set of texts that finds others of at least this `similarity`, in (0, 1], to one of them."""

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        draw = np.random.default_rng(0)
        self._factor, self._offset = draw.integers(1, PRIME, (2, BANDS * ROWS, 1), np.int64)
        self._added: set[bytes] = set()  # trigrams of each text
        self._buckets: dict[int, list[bytes]] = {}  # key of a band and its hashes -> trigrams of the texts with them

    values = staticmethod(texts_of)

    def add(self, texts: Sequence[str], which: Literal["all", "unlike", "none"] = "all") -> np.ndarray:
        """Which texts are near-duplicates of earlier ones, bool [n]. All, the others or none are added."""
        duplicates = []
        for text in texts:
            framed = f"\2\2{' '.join(text.lower().split())}\3".encode("utf-32-le")
            codes = np.frombuffer(framed, "<i4").astype(int)
            trigrams = np.unique(codes[:-2] << 42 | codes[1:-1] << 21 | codes[2:])  # a character takes 21 bits
            packed = trigrams.tobytes()  # which take a tenth of what a set of numbers takes
            if packed in self._added:
                duplicates.append(True)
                continue
            hashes = ((self._factor * (trigrams % PRIME) + self._offset) % PRIME).min(1)
            bands = enumerate(hashes.reshape(BANDS, ROWS).tolist())
            places = [self._buckets.setdefault(hash((band, *row)), []) for band, row in bands]
            duplicates.append(any(self._is_like(trigrams, other) for other in set().union(*places)))
            if which == "all" or (which == "unlike" and not duplicates[-1]):
                self._added.add(packed)
                for place in places:
                    place.append(packed)
        return np.array(duplicates, bool)

    def _is_like(self, one: np.ndarray, packed: bytes) -> bool:
        other = np.frombuffer(packed, int)
        shared = len(np.intersect1d(one, other, assume_unique=True))
        return shared >= self.similarity * (len(one) + len(other) - shared)
