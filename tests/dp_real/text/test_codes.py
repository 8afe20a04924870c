"""Texts as numbers, draws of tokens, n-grams, and near-duplicates."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_real.pool.storages import open_storage
from dp_real.runtime.computing import unusable
from dp_real.runtime.pixels import to_float
from dp_real.text.codes import texts_of, to_codes
from dp_real.text.models.char_lm import inverse_transform
from dp_real.text.models.ngrams import BagOfWords, NGramNetwork, ngrams
from dp_real.text.near_duplicates import NearTexts

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@settings(deadline=None, max_examples=50)
@given(st.lists(TEXTS, max_size=5))
def test_texts_come_back(texts):
    codes = to_codes(texts, 12)
    assert (codes.shape, codes.dtype) == ((len(texts), 12), torch.int32)
    assert texts_of(codes) == texts
    storage = open_storage("text", (12,))
    column = storage.encode(codes)
    assert column.to_pylist() == texts
    assert storage.decode(column).equal(codes)


def test_texts_are_cut_by_characters_and_stay_integers():
    codes = to_codes(["größe", "a\0b"], 3)
    assert texts_of(codes) == ["grö", "ab"]
    assert to_float(codes) is codes
    assert unusable(to_codes(["", "a"], 3)).tolist() == [True, False]


def test_a_token_is_drawn_as_often_as_it_is_likely():
    logits = torch.tensor([0.5, 0.0, 0.3, 0.2]).log()
    drawn = inverse_transform(logits.expand(1000, -1), torch.arange(1000) / 1000)
    assert np.bincount(drawn, minlength=4).tolist() == pytest.approx([500, 0, 300, 200], abs=1)
    assert inverse_transform(torch.tensor([[0.0, 1.0, -torch.inf]]), torch.tensor([1 - 1e-17])).item() == 1


def test_ngrams_are_the_same_in_any_text():
    units = to_codes(["abc", "xabc"], 6).long()
    short, long = (set(row[row > 0].tolist()) for row in ngrams(units, [2], 2**20))
    assert (len(short), len(long)) == (4, 5)  # with both ends
    assert len(short & long) == 3  # ab, bc, and c at the end
    assert not ngrams(units, [9], 10).any()  # too long for both


NETS = {"ngrams": NGramNetwork(3), "words": BagOfWords(3, 512)}


@pytest.mark.parametrize("kind", NETS)
def test_a_text_is_the_same_whatever_is_behind_it_and_beside_it(kind):
    net = NETS[kind]
    torch.manual_seed(0)
    for weights in net.parameters():
        torch.nn.init.normal_(weights)
    alone = torch.cat([net(to_codes([text], 12)) for text in ("a dog ran", "", "I")])
    assert net(to_codes(["a dog ran", "", "I"], 40)).allclose(alone)
    assert net(torch.zeros(1, 5)).equal(alone[1:2])
    assert kind == "ngrams" or alone[1].equal(net.bias)
    assert not alone[1].equal(alone[2])  # one letter is a word


# near-duplicates


LONG = "the quick brown fox jumps over the lazy dog and runs into the dark green forest"


def test_copies_and_small_changes_are_near():
    texts = [LONG, LONG.upper(), f"  {LONG.replace(' ', '  ')}", LONG.replace("dark", "deep"), LONG[:40], "x", "x", ""]
    near = NearTexts(0.8)
    assert near.add(texts).tolist() == [False, True, True, True, False, False, True, False]
    assert near.add([LONG, "something else"], "none").tolist() == [True, False]
    assert near.add(["something else"], "none").tolist() == [False]
    assert NearTexts(1.0).add(texts).tolist() == [False, True, True, False, False, False, True, False]


def test_copies_cost_no_comparison(patch):
    compared = []
    patch("dp_real.text.near_duplicates.NearTexts._is_like", lambda *pair: compared.append(pair) or False)
    assert NearTexts(0.8).add([LONG] * 100).tolist() == [False] + 99 * [True]
    assert not compared


def test_a_text_of_a_page_takes_little_memory():
    """8 bytes a trigram, and 32 bands: of 100,000 reviews 3 GB."""
    letters = np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz "), (50, 2000))
    near = NearTexts(0.8)
    tracemalloc.start()
    near.add(list(map("".join, letters)))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / 50 < 30_000


def test_what_is_like_an_earlier_one_counts_where_it_stays():
    """The third is like the second only, which is like the first."""
    chain = [LONG, LONG[8:], LONG[16:]]
    assert [NearTexts(0.85).add(chain, which).tolist()[2] for which in ("all", "unlike")] == [True, False]
