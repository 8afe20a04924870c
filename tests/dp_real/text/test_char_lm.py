"""The character model: what it learns, that rows are their own, and Bayes."""

import numpy as np
import pytest
import torch

from dp_real.data.examples import Examples
from dp_real.runtime.resumable import Resumable
from dp_real.text.codes import texts_of, to_codes
from dp_real.text.language_models import CharLMSizes
from dp_real.text.models.char_lm import CharLM, CharLMGenerator, train_char_lm
from tests.dp_real.runs.folders import same_tensors
from tests.dp_real.text.made import assert_rows_are_their_own

WORDS = Examples(to_codes(["ababab", "abab", "cdcd", "cdcdcd"] * 30, 8), torch.tensor([0, 0, 1, 1] * 30))
SIZES = CharLMSizes(width=32, train_steps=60, train_learning_rate=0.01)
LABELS, SEEDS = torch.tensor([0, 1] * 6), np.arange(12, dtype=np.uint64)


def trained(folder=None):
    return train_char_lm(SIZES, WORDS, 2, 0, folder)


@pytest.fixture(scope="module")
def generator():
    return CharLMGenerator(trained(), 8, 2, 1.0)


def test_it_learns_the_classes(generator):
    texts = texts_of(generator.sample(LABELS, SEEDS, None))
    right = [set(text) <= set(("ab", "cd")[label]) for text, label in zip(texts, LABELS.tolist(), strict=True)]
    assert sum(right) >= 11
    found, rows = generator.log_posterior(WORDS.x), torch.arange(len(WORDS.y))
    assert found[rows, WORDS.y].mean() > -0.05
    assert found[rows, 1 - WORDS.y].max() < -2
    assert generator.log_posterior(to_codes(["zé!"], 8)).isfinite().all()


def test_a_row_is_a_function_of_its_label_and_seed(generator):
    whole = assert_rows_are_their_own(generator, LABELS, SEEDS)
    assert not whole.equal(generator.sample(LABELS, SEEDS + np.uint64(99), None))


def test_likelihoods_of_all_texts_add_up_to_one():
    """Over all texts of up to two of two characters, of which those of two need not end."""
    model = CharLM(torch.tensor([97, 98], dtype=torch.int32), 3, 32).eval()
    texts = to_codes(["a", "b", "aa", "ab", "ba", "bb"], 2)
    for label in range(3):
        total = model.log_likelihood(texts, torch.full((6,), label)).exp().sum()
        assert total.item() == pytest.approx(1, abs=1e-5)


def test_training_goes_on_after_a_kill_as_if_unbroken(tmp_path, patch):
    patch("dp_real.runtime.resumable.EVERY", 20)
    whole, keep = trained(), Resumable.keep

    def killed(self, folder, step):
        keep(self, folder, step)
        if step == 40:
            raise KeyboardInterrupt

    patch("dp_real.runtime.resumable.Resumable.keep", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "unfinished")
    patch("dp_real.runtime.resumable.Resumable.keep", keep)
    assert same_tensors(trained(tmp_path / "unfinished").state_dict(), whole.state_dict())
