"""Near-duplicates among texts."""

import numpy as np

from dp_real.text.near import NearTexts

LONG = "the quick brown fox jumps over the lazy dog and runs into the dark green forest"


def test_copies_and_small_changes_are_near():
    texts = [LONG, LONG.upper(), f"  {LONG.replace(' ', '  ')}", LONG.replace("dark", "deep"), LONG[:40], "x", "x", ""]
    near = NearTexts(0.8)
    assert near.add(texts).tolist() == [False, True, True, True, False, False, True, False]
    assert near.like([LONG, "something else"]).tolist() == [True, False]
    assert near.like(["something else"]).tolist() == [False]
    assert NearTexts(1.0).add(texts).tolist() == [False, True, True, False, False, False, True, False]


def test_random_words_are_not_near():
    letters = np.random.default_rng(0).integers(97, 123, (500, 12)).astype(np.uint8)
    words = [row.tobytes().decode() for row in letters]
    near = NearTexts(0.8)
    assert not near.add(words).any()
    assert near.like(words).all()


def test_texts_of_blocks_are_compared(monkeypatch):
    monkeypatch.setattr("dp_real.text.near.BLOCK", 2)
    assert NearTexts(0.8).add(["one text", "another", "third", "one text"]).tolist() == [False, False, False, True]
