"""Which texts are nearly alike: MinHash (Broder 1997) of their trigrams, with locality-sensitive hashing.

Likeness is the Jaccard similarity of trigrams: .8 for a sentence of which a word in ten was changed.
"""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any, Literal

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from dp_real.text.codes import texts_of

BANDS = 32
ROWS = 4  # of 128 hashes: pairs of similarity .8 meet in a band with probability 1 - (1 - .8⁴)³² > 1 - 1e-7
PRIME = 2**31 - 1
SURELY = 9  # standard errors of the hashes' share that agrees, below which a similarity need not be counted
BLOCK = 256  # texts that are hashed together: 100 MB for texts of a few hundred characters


class NearTexts:
    """Texts seen so far, and which others are like one of them by `similarity`, in (0, 1], or more."""

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        self._shingles = HashingVectorizer(analyzer="char", ngram_range=(3, 3), n_features=2**22)
        draw = np.random.default_rng(0)
        self._factor, self._offset = draw.integers(1, PRIME, (2, BANDS * ROWS, 1), np.int64)
        self._least = similarity - SURELY * (similarity * (1 - similarity) / (BANDS * ROWS)) ** 0.5
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []  # trigrams, hashes
        self._meeting: dict[int, list[int]] = {}  # key of a band and its hashes -> the texts there

    values = staticmethod(texts_of)

    def add(self, texts: Sequence[str], which: Literal["all", "unlike", "none"] = "all") -> np.ndarray:
        """Which are nearly one seen before, bool [n]. All are seen from now on, or some are."""
        duplicates = []
        for trigrams, hashes in self._hashed(texts):
            bands = enumerate(hashes.reshape(BANDS, ROWS).tolist())
            places = [self._meeting.setdefault(hash((band, *row)), []) for band, row in bands]
            met = [self._seen[text] for text in set().union(*places)]
            agree = np.reshape([other for _, other in met], (-1, BANDS * ROWS)) == hashes
            likely = compress(met, agree.mean(axis=1) >= self._least)
            duplicates.append(any(self._is_like(trigrams, other) for other, _ in likely))
            if which == "all" or (which == "unlike" and not duplicates[-1]):
                for place in places:
                    place.append(len(self._seen))
                self._seen.append((trigrams, hashes))
        return np.array(duplicates, bool)

    def _is_like(self, one: np.ndarray, other: np.ndarray) -> bool:
        shared = len(np.intersect1d(one, other, assume_unique=True))
        return shared >= self.similarity * (len(one) + len(other) - shared)

    def _hashed(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each text's sorted trigrams, and their least hashes."""
        for start in range(0, len(texts), BLOCK):
            framed = [f"\2\2{' '.join(text.split())}\3" for text in texts[start : start + BLOCK]]
            sets: Any = self._shingles.transform(framed)
            hashes = np.minimum.reduceat((self._factor * sets.indices + self._offset) % PRIME, sets.indptr[:-1], axis=1)
            yield from zip(np.split(sets.indices, sets.indptr[1:-1]), hashes.T.astype(np.int32), strict=True)
