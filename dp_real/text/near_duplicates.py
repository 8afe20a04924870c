"""Near-duplicates of texts, by MinHash (Broder 1997) of trigrams with locality-sensitive hashing.

Similarity is the Jaccard index of trigrams: .8 if one word in ten of a sentence was changed.
"""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any, Literal

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from dp_real.text.codes import texts_of

BANDS = 32
ROWS = 4  # of 128 hashes; pairs of similarity .8 meet in a band with probability 1 - (1 - .8⁴)³² > 1 - 1e-7
PRIME = 2**31 - 1
SURELY = 9  # standard errors of the share of equal hashes; below, similarity is not computed
BLOCK = 256  # texts hashed together: 100 MB for a few hundred characters each


class NearTexts:
    """A set of texts that finds others of at least this `similarity`, in (0, 1], to one of them."""

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        self._shingles = HashingVectorizer(analyzer="char", ngram_range=(3, 3), n_features=2**22)
        draw = np.random.default_rng(0)
        self._factor, self._offset = draw.integers(1, PRIME, (2, BANDS * ROWS, 1), np.int64)
        self._least = similarity - SURELY * (similarity * (1 - similarity) / (BANDS * ROWS)) ** 0.5
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []  # trigrams, hashes
        self._meeting: dict[int, list[int]] = {}  # key of a band and its hashes -> the texts with them

    values = staticmethod(texts_of)

    def add(self, texts: Sequence[str], which: Literal["all", "unlike", "none"] = "all") -> np.ndarray:
        """Which texts are near-duplicates of earlier ones, bool [n]. All, the others or none are added."""
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
        """Each text's sorted trigrams and MinHash."""
        for start in range(0, len(texts), BLOCK):
            framed = [f"\2\2{' '.join(text.split())}\3" for text in texts[start : start + BLOCK]]
            sets: Any = self._shingles.transform(framed)
            hashes = np.minimum.reduceat((self._factor * sets.indices + self._offset) % PRIME, sets.indptr[:-1], axis=1)
            yield from zip(np.split(sets.indices, sets.indptr[1:-1]), hashes.T.astype(np.int32), strict=True)
