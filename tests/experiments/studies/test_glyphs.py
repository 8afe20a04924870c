"""Glyphs: no family on two sides of a split, further sets of their own, and messages that say what is missing."""

import unicodedata

import pytest
import torch
from dp_experiments.studies.glyphs import encoder as encoding
from dp_experiments.studies.glyphs import fonts as reading
from dp_experiments.studies.glyphs.fonts import CHARACTERS
from dp_experiments.studies.glyphs.source import FONTS_PER_GROUP, GlyphsConfig

from dp_base.errors import MissingError
from dp_real.learners.models.classifier import load_encoder
from dp_real.learners.section import TrainingConfig
from tests.experiments.studies.made import SOURCE, loaded, make_font
from tests.refusals import refusal

FAMILIES = {
    f"{name} {kind}": 0.08 * (place - 4.5) + more
    for place, name in enumerate("ABCDEFGHIJ")
    for kind, more in (("Serif", 0.0), ("Sans", 0.02))
}


@pytest.fixture(scope="module")
def fonts(tmp_path_factory):
    """Ten groups of two families, and one of handwriting."""
    root = tmp_path_factory.mktemp("fonts")
    for family, slope in FAMILIES.items():
        make_font(root / family.split()[0] / f"{family}.ttf", family, slope)
    make_font(root / "script.ttf", "Z Script", 0.42)
    return root


def section(fonts, **values):
    return GlyphsConfig(source="glyphs", fonts=str(fonts) if fonts else None, **values)


def test_no_group_of_families_is_on_two_sides(fonts):
    for split in (0, 1):
        config = section(fonts, split=split)
        collection = config.collection()
        sides = config.split_fonts(collection)
        groups = [{collection.faces[row].group for row in side} for side in sides]
        assert [len(side) for side in groups] == [6, 1, 3]  # 55, 15 and 30 % of ten
        assert sum(map(len, groups)) == len(set.union(*groups))
        assert {collection.faces[row].kind for side in sides for row in side} == {"text"}
        for evaluated in sides[1:]:
            members = [collection.faces[row].group for row in evaluated]
            assert max(map(members.count, members)) <= FONTS_PER_GROUP
    assert sides != section(fonts).split_fonts(collection)


def test_each_image_has_its_characters_label(fonts):
    config = section(fonts, size=32)
    data = loaded(config)
    collection = config.collection()
    assert data.task.classes[:2] == ("digit two", "digit three")
    first = torch.from_numpy(collection.images[config.split_fonts(collection)[2][0]])
    torch.testing.assert_close((data.test.x[: len(first), 0] + 1) * 127.5, first.float(), atol=1e-3, rtol=0)
    assert data.test.y[: len(first)].tolist() == list(range(len(CHARACTERS)))
    assert loaded(section(fonts)).task.sample_shape == (1, 24, 24)


def test_handwriting_is_a_set_of_its_own(fonts):
    config = section(fonts, sets={"by hand": "handwriting"})
    assert len(loaded(config).sets["by hand"].y) == len(config.read_set("more", "handwriting").y) == len(CHARACTERS)
    with refusal(r"data\.sets\.more = 'display': there is no such font"):
        config.read_set("more", "display")


def test_what_is_missing_is_named(tmp_path, fonts, monkeypatch):
    with refusal(r"fonts of 0 groups of families.*at least 10 are needed"):
        section(tmp_path).load()
    monkeypatch.setattr(reading, "DEBIAN", tmp_path)
    installs = r"192 of Debian's font packages.*debian\.csv \| cut -d, -f1 \| sort -u \| xargs sudo apt-get install"
    with refusal(installs, MissingError) as caught:
        section(None).load()
    (status,) = section(None).describe()
    assert status.problem == str(caught.value)
    (there,) = section(fonts).describe()
    assert there.problem is None
    assert "21 files" in there.found


def test_the_encoder_knows_other_characters_and_is_made_once(fonts, monkeypatch):
    monkeypatch.setattr(encoding, "MIN_FONTS", 1)
    x, y, names = encoding.characters([SOURCE, SOURCE])
    bare = {unicodedata.normalize("NFKD", name).casefold() for name in names}
    assert {"é".upper(), "é", "¿"} <= set(names)
    assert not bare & set(map(str.casefold, CHARACTERS))
    assert not bare & {*"01|ı"}
    assert x.shape == (2 * len(names), 1, 32, 32)
    assert y.bincount().tolist() == [2] * len(names)
    assert x[0::2].equal(x[1::2])
    asked = []
    monkeypatch.setattr(encoding, "TRAINING", TrainingConfig(steps=1, batch_size=4))
    monkeypatch.setattr(encoding, "characters", lambda files: (asked.append(files), (x, y, names))[1])
    folders = [encoding.encoder(section(fonts, split=split)) for split in (0, 0, 1)]
    assert folders[0] == folders[1] != folders[2]
    assert [len(files) for files in asked] == [12, 12]  # the fonts of the generator
    assert load_encoder(str(folders[0])).config.hidden_sizes == [32, 64, 128]
