"""Kinds are found in their room and in other packages, in order. Errors name unknown and broken kinds."""

import sys
from pathlib import Path

import pytest

from dp_base.errors import InputError, MissingError
from dp_base.registry import Registry
from tests.installed import install

ENTRY_POINTS = "[deliberate_practice.animals]\ncow = farm\n"


@pytest.fixture
def animals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package `zoo` with one kind of its own, which is the room of a registry. Yields the folder in which it lies."""
    room = tmp_path / "zoo"
    (room / "machinery").mkdir(parents=True)
    (room / "__init__.py").write_text("from dp_base.registry import Registry\nANIMALS = Registry('animals', 'zoo')\n")
    (room / "cat.py").write_text("from zoo import ANIMALS\nANIMALS.register('cat', 'meow', place=1)\n")
    (room / "ant.py").write_text("from zoo import ANIMALS\nANIMALS.register('ant', '')\n")
    (room / "machinery" / "__init__.py").write_text("raise AssertionError('sub-packages are not searched')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("zoo", "farm")]:
        del sys.modules[name]


def registry() -> Registry[str]:
    import zoo

    return zoo.ANIMALS


def test_files_of_the_room_register_in_their_places(animals: Path):
    assert registry().items() == [("cat", "meow"), ("ant", "")]
    assert "cat" in registry()
    assert "machinery" not in registry()


def test_another_package_adds_a_kind(animals: Path):
    install(animals, "farm", {"farm.py": "from zoo import ANIMALS\nANIMALS.register('cow', 'moo')\n"}, ENTRY_POINTS)
    assert registry().names() == ["cat", "ant", "cow"]
    assert registry()["cow"] == "moo"


def test_a_broken_package_stops_only_who_asks_for_it(animals: Path):
    install(animals, "farm", {"farm.py": "raise RuntimeError('no grass')\n"}, ENTRY_POINTS)
    assert registry().names() == ["cat", "ant"]
    with pytest.raises(MissingError, match=r"'cow' cannot be loaded: farm: RuntimeError: no grass"):
        registry()["cow"]


def test_an_unknown_name_is_told_the_nearest(animals: Path):
    with pytest.raises(InputError, match=r"animals: there is no 'cats'; did you mean 'cat'\? there are cat, ant"):
        registry()["cats"]


def test_a_name_is_taken_once(animals: Path):
    registry().register("cat", registry()["cat"])
    with pytest.raises(ValueError, match="two of the animals are called 'cat'"):
        registry().register("cat", "woof")
