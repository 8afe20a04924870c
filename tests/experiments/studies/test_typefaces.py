"""Fonts are found, read, drawn, weeded out and grouped, each step by what it promises."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from dp_experiments.studies.glyphs.collection import (
    INK,
    PLACES,
    SIDE,
    draw,
    draw_font,
    draw_usable,
    features,
    read_by_others,
    shares,
    similarity,
)
from dp_experiments.studies.glyphs.fonts import (
    BEYOND_ASCII,
    CASES,
    CHARACTERS,
    Font,
    font_files,
    pick_styles,
    read_font,
)

from dp_base.progress import silent
from tests.experiments.studies.made import ALL, make_font

SLOPES = {"Ash": -0.2, "Beech": -0.1, "Cedar": 0.0, "Dogwood": 0.1, "Elm": 0.2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("fonts")
    for family, slope in SLOPES.items():
        make_font(root / f"{family}.ttf", family, slope)
    return root


@pytest.fixture(scope="module")
def fonts(folder):
    return [font for font in map(read_font, font_files(folder)) if font]


@pytest.fixture(scope="module")
def images(fonts):
    return np.stack([draw_font(font) for font in fonts])


def test_a_font_tells_its_family_style_kind_and_characters(folder, tmp_path):
    font = read_font(folder / "Elm.ttf")
    assert font == Font(folder / "Elm.ttf", "Elm", "Regular", "text", 400, False, ALL)
    bold = read_font(make_font(tmp_path / "b.ttf", "Elm", 0.1, "Bold Italic"))
    assert (bold.weight, bold.italic, bold.bold) == (700, True, True)
    for family, panose, kind in (
        ("Elm Script", 0, "handwriting"),
        ("Elm", 3, "handwriting"),
        ("Elm BRK", 0, "display"),
    ):
        other = read_font(make_font(tmp_path / "c.ttf", family, panose=panose))
        assert other.kind == kind


def test_fonts_of_symbols_and_of_few_characters_and_broken_files_are_left_out(tmp_path, caplog):
    for family in ("Elm Math", "Elm SC", "Px Elm"):
        assert read_font(make_font(tmp_path / "font.ttf", family)) is None
    assert read_font(make_font(tmp_path / "few.ttf", "Elm", characters=ALL[18:])) is None
    assert read_font(make_font(tmp_path / "most.ttf", "Elm", characters=ALL[17:])) is not None
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    with caplog.at_level(logging.WARNING):
        assert read_font(tmp_path / "broken.ttf") is None
    assert "broken.ttf" in caplog.text


def test_a_family_has_one_font_for_each_style(fonts):
    ash, beech = fonts[:2]
    light, bold, black, italic = (
        replace(ash, style=style, weight=weight, italic=style == "Italic")
        for style, weight in (("Light", 300), ("Bold", 700), ("Black", 900), ("Italic", 400))
    )
    assert pick_styles([light, black, bold, italic, ash, beech]) == [ash, bold, italic, beech]


def test_characters_are_white_on_black_and_fill_the_square(images):
    assert images.shape == (len(SLOPES), len(CHARACTERS), SIDE, SIDE)
    assert images.any((2, 3)).all()
    assert (images.max((2, 3)) > 200).all()
    for image in images[2]:
        height, width = (np.ptp(np.flatnonzero(image.any(axis))) + 1 for axis in (1, 0))
        assert max(height, width) == INK
    rim = (SIDE - INK) // 2
    assert not images[:, :, :rim].any()
    assert not images[:, :, :, -rim:].any()
    top, foot = (np.ptp(np.flatnonzero(images[2, PLACES["A"], row])) for row in (rim + 1, SIDE - rim - 1))
    assert top < foot / 2


def test_a_font_whose_small_letters_are_drawn_as_capitals_is_left_out(images, tmp_path, monkeypatch):
    like = make_font(tmp_path / "unicase.ttf", "Elm", instead="".join(small + capital for small, capital in CASES))
    font = read_font(like)
    unicase = draw_font(font)
    assert not unicase[PLACES["a"]].any()  # to the last byte
    capitals = images[2].copy()
    for small, capital in CASES:
        capitals[PLACES[small]] = np.roll(capitals[PLACES[capital]], 1, 0) // 2 + capitals[PLACES[capital]] // 2
    monkeypatch.setattr("dp_experiments.studies.glyphs.collection.draw_font", lambda font: capitals)
    assert draw_usable(font) is None


def test_what_is_absent_counts_for_nothing(images):
    partial = images[:1].copy()
    partial[:, 60:] = 0
    assert similarity(partial, images[:1]).item() == pytest.approx(1, abs=1e-5)
    assert shares(np.zeros((1, 0), bool), np.zeros((1, 0), bool)).tolist() == [1]
    traits = np.stack([features(image) for image in images])
    assert read_by_others(traits, [0, 0, 1, 1, 2]).all()  # too few groups to read each other


def test_the_collection_keeps_what_serves(folder, tmp_path):
    """Twin is Cedar once more, and nobody can read Scrambled. Families of a first name, or alike, are one group."""
    files = font_files(folder)
    more = {"Twin": 0.0, "Fir Math": 0.1, "ash-Serif": -0.15, "Near": 0.01}
    files += [make_font(tmp_path / f"{family}.ttf", family, slope) for family, slope in more.items()]
    letters = ALL + "jkmnpsuvwxzc"
    wrong = "£j¥k§m¶nßpæsÆu÷v±w«x»z©c"
    files += [make_font(tmp_path / "odd.ttf", "Odd", -0.05, characters=letters, instead=wrong)]
    turned = "".join(a + b for a, b in zip(CHARACTERS, [*CHARACTERS][7:] + [*CHARACTERS][:7], strict=True))
    files += [make_font(tmp_path / "scrambled.ttf", "Scrambled", 0.05, instead=turned)]
    made = draw(files, silent)
    rows = {face.family: row for row, face in enumerate(made.faces)}
    assert rows.keys() == {*SLOPES, "ash-Serif", "Near", "Odd"}
    group = {face.family: face.group for face in made.faces}
    assert group["Ash"] == group["ash-Serif"]
    assert group["Cedar"] == group["Near"]
    assert len(set(group.values())) == len(rows) - 2
    odd = made.images[rows["Odd"]]
    assert not odd[BEYOND_ASCII].any()
    assert odd[PLACES["Z"]].any()
    assert draw([], silent).faces == []
