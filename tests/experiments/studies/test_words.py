"""Words: which are kept of the lists, how they are split, and what is said of lists that are missing."""

from pathlib import Path

import pytest
from dp_experiments.studies.words.source import WordsConfig, plain

from dp_base.errors import InputError, MissingError
from dp_real.text.codes import to_texts
from tests.experiments.studies.made import word_lists


def test_words_without_accents():
    assert plain("Straße ÆRØ łódź façade") == "strasse aero lodz facade"


def test_missing_lists_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dp_experiments.studies.words.source.FOLDER", tmp_path)
    with pytest.raises(MissingError, match=r"apt-get install --no-install-recommends wamerican wngerman .* wpolish$"):
        WordsConfig(source="words").load()


def test_words_of_one_language_alone_are_split_by_their_stems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dp_experiments.studies.words.source.FOLDER", tmp_path)
    word_lists(tmp_path)
    config = WordsConfig(source="words", train=30, validation=2, test=5)
    data = config.load()
    assert data.generator is not None
    sides = [to_texts(side.x[:]) for side in (data.generator, data.validation, data.test)]
    assert [len(side) for side in sides] == [330, 22, 55]
    assert not any("shared" in text or len(text) < 8 for side in sides for text in side)
    stems = [{text[:6] for text in side} for side in sides]
    assert not stems[0] & stems[1] | stems[0] & stems[2] | stems[1] & stems[2]
    assert to_texts(config.load().test.x[:]) == sides[2]
    assert to_texts(config.model_copy(update={"split": 1}).load().test.x[:]) != sides[2]
    with pytest.raises(InputError, match=r"data.test = 5000: English has \d+ such words of 8 to 20"):
        config.model_copy(update={"test": 5000}).load()
