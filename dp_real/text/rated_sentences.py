"""Sentences with the mean rating of twenty people, as the source distribution of vaderSentiment has them.

Hutto and Gilbert 2014 (VADER, ICWSM) collected them: of film reviews, product reviews, tweets and editorials.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from dp_base.errors import InputError
from dp_base.reading import foreign_file

FOLDER = "vaderSentiment-3.3.2/additional_resources"
INNER = "hutto_ICWSM_2014.tar.gz"
MOST = 64 * 2**20  # bytes of a member; what is larger is none of these


class Rated(NamedTuple):
    """Sentences, and whether each is positive."""

    texts: list[str]
    positive: Bool[np.ndarray, " n"]

    def by_class(self) -> tuple[Int64[np.ndarray, " negative"], Int64[np.ndarray, " positive"]]:
        return np.flatnonzero(~self.positive), np.flatnonzero(self.positive)


def read_rated(archive: Path, domain: str, least: float) -> Rated:
    """Read the sentences of a domain whose mean rating, in -4 to 4, is at least `least` from 0, and not 0.

    Of a sentence that stands there twice, the first counts. Raises InputError if the archive holds something else.
    """
    name = f"hutto_ICWSM_2014/{domain}_GroundTruth.txt"
    with foreign_file(archive, "cannot be read as the source distribution of vaderSentiment 3.3.2"):
        inner = _member(archive.read_bytes(), f"{FOLDER}/{INNER}")
        lines = _member(inner, name).decode("latin-1").splitlines()
        rated = dict(_sentence(line) for line in reversed(lines))
    kept = {text: rating for text, rating in reversed(rated.items()) if text and rating and abs(rating) >= least}
    if not kept:
        raise InputError(f"{archive}: {name} has no sentence rated {least:g} or more from 0")
    return Rated(list(kept), np.array(list(kept.values())) > 0)


def _member(archive: bytes, name: str) -> bytes:
    """Raises ValueError if a file of the archive is too large, or is none."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        info = opened.getmember(name)
        file = opened.extractfile(info) if info.isfile() and info.size <= MOST else None
        if file is None:
            raise ValueError(f"{name} is no file of up to {MOST >> 20} MB")
        return file.read()


def _sentence(line: str) -> tuple[str, float]:
    """A line has a number, the mean rating and the sentence, with tabs between."""
    _, rating, text = line.split("\t", 2)
    return " ".join(text.replace("''", '"').split()), float(rating)
