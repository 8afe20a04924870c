"""Glyphs: no family on two sides of a split, further sets of their own, and messages that say what is missing."""

import unicodedata
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch
from dp_experiments.studies.glyphs import encoder as encoding
from dp_experiments.studies.glyphs import fonts as reading
from dp_experiments.studies.glyphs.collection import INK, SIDE, draw_font
from dp_experiments.studies.glyphs.fonts import BEYOND_ASCII, CHARACTERS, Face, debian_fonts
from dp_experiments.studies.glyphs.source import FONTS_PER_GROUP, GlyphsConfig
from fontTools.subset import Subsetter
from fontTools.ttLib import TTFont
from matplotlib import get_data_path

from dp_base.errors import MissingError
from dp_real.learners.models.classifier import load_encoder
from dp_real.learners.section import TrainingConfig
from tests.experiments.studies.made import loaded
from tests.refusals import refusal

LIST = reading.DEBIANS_FONTS
DEJAVU = Path(get_data_path(), "fonts", "ttf")
SOURCE = DEJAVU / "DejaVuSans.ttf"


@pytest.fixture(scope="module")
def fonts(tmp_path_factory):
    """Ten groups of three fonts, and one of handwriting, in the place of Debian's: matplotlib's, again and again."""
    root = tmp_path_factory.mktemp("fonts")
    rows = ["package,font,kind,group,ascii_only", "hand,script.ttf,handwriting,99,"]
    rows += [f"fonts-{n // 3},{n}.ttf,text,{n // 3}," for n in range(30)]
    for row, face in zip(rows[1:], cycle(sorted(DEJAVU.glob("DejaVu*[!y].ttf")))):
        (root / row.split(",")[1]).symlink_to(face)
    (root / "list.csv").write_text("\n".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "DEBIANS_FONTS", root / "list.csv")
        yield root


def section(fonts, **values):
    return GlyphsConfig(source="glyphs", fonts=str(fonts) if fonts else None, **values)


def test_no_group_of_families_is_on_two_sides(fonts):
    for split in (0, 1):
        config = section(fonts, split=split)
        faces = config.faces()
        sides = config.split_fonts(faces)
        groups = [{faces[row].group for row in side} for side in sides]
        assert [len(side) for side in groups] == [6, 1, 3]  # 55, 15 and 30 % of ten
        assert sum(map(len, groups)) == len(set.union(*groups))
        assert {faces[row].kind for side in sides for row in side} == {"text"}
        for evaluated in sides[1:]:
            members = [faces[row].group for row in evaluated]
            assert max(map(members.count, members)) <= FONTS_PER_GROUP
    assert sides != section(fonts).split_fonts(faces)


def test_each_image_has_its_characters_label(fonts):
    """Those of handwriting are a set of their own."""
    config = section(fonts, size=32, sets={"by hand": "handwriting"})
    data = loaded(config)
    assert len(data.sets["by hand"].y) == len(config.read_set("more", "handwriting").y) == len(CHARACTERS)
    faces, images = config.collection()
    assert data.task.classes[:2] == ("digit two", "digit three")
    first = torch.from_numpy(images[config.split_fonts(faces)[2][0]])
    torch.testing.assert_close((data.test.x[: len(first), 0] + 1) * 127.5, first.float(), atol=1e-3, rtol=0)
    assert data.test.y[: len(first)].tolist() == list(range(len(CHARACTERS)))
    assert loaded(section(fonts)).task.sample_shape == (1, 24, 24)


def test_what_is_missing_is_named(tmp_path, fonts, patch):
    (there,) = section(fonts).describe()
    assert there.problem is None
    assert "31 files" in there.found
    patch(reading, "DEBIANS_FONTS", LIST)
    installs = r"178 of Debian's font packages.*debian\.csv \| cut -d, -f1 \| sort -u \| xargs sudo apt-get install"
    with refusal(installs, MissingError) as caught:
        section(tmp_path).load()
    (status,) = section(tmp_path).describe()
    assert status.problem == str(caught.value)


def test_the_list_has_every_kind_of_font_and_gives_each_once(patch):
    patch(reading, "DEBIANS_FONTS", LIST)
    faces = debian_fonts()
    assert len({face.path for face in faces}) == len(faces) == 984
    assert {face.kind for face in faces} == {"text", "handwriting", "display"}
    assert 0 < sum(face.ascii_only for face in faces) < len(faces) / 4
    assert section(None).describe()[0].found.startswith("/usr/share")


def test_characters_are_white_on_black_and_fill_the_square():
    images = draw_font(Face(SOURCE, "all", "text", 0, False))
    assert images.shape == (len(CHARACTERS), SIDE, SIDE)
    assert (images.max((1, 2)) > 200).all()
    for image in images:
        height, width = (np.ptp(np.flatnonzero(image.any(axis))) + 1 for axis in (1, 0))
        assert max(height, width) == INK
    rim = (SIDE - INK) // 2
    assert not images[:, :rim].any()
    assert not images[:, :, -rim:].any()
    capital = images[[*CHARACTERS].index("A")]
    top, foot = (np.ptp(np.flatnonzero(capital[row])) for row in (rim + 1, SIDE - rim - 1))
    assert top < foot / 2


def test_characters_that_a_font_lacks_or_has_other_letters_for_are_black(tmp_path):
    font, few = TTFont(SOURCE), Subsetter()
    few.options.drop_tables += ["FFTM", "GPOS", "GSUB", "kern"]
    few.populate(text="".join([*CHARACTERS][17:]))
    few.subset(font)
    font.save(tmp_path / "few.ttf")
    lacking = draw_font(Face(tmp_path / "few.ttf", "few", "text", 0, False))
    assert lacking.any((1, 2)).tolist() == [False] * 17 + [True] * (len(CHARACTERS) - 17)
    other = draw_font(Face(SOURCE, "all", "text", 0, True))
    assert np.flatnonzero(~other.any((1, 2))).tolist() == BEYOND_ASCII


def test_the_encoder_knows_other_characters_and_is_made_once(fonts, patch):
    patch(encoding, "MIN_FONTS", 1)
    x, y, names = encoding.characters([SOURCE, SOURCE])
    bare = {unicodedata.normalize("NFKD", name).casefold() for name in names}
    assert {"é".upper(), "é", "¿"} <= set(names)
    assert not bare & set(map(str.casefold, CHARACTERS))
    assert not bare & {*"01|ı"}
    assert x.shape == (2 * len(names), 1, 32, 32)
    assert y.bincount().tolist() == [2] * len(names)
    assert x[0::2].equal(x[1::2])
    asked = []
    patch(encoding, "TRAINING", TrainingConfig(steps=1, batch_size=4))
    patch(encoding, "characters", lambda files: (asked.append(files), (x, y, names))[1])
    folders = [encoding.encoder(section(fonts, split=split)) for split in (0, 0, 1)]
    assert folders[0] == folders[1] != folders[2]
    assert [len(files) for files in asked] == [18, 18]  # the fonts of the generator
    assert load_encoder(str(folders[0])).config.hidden_sizes == [32, 64, 128]
