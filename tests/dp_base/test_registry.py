"""Kinds are found in their room, in order. Errors name unknown and broken kinds."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from dp_base.errors import MissingError
from dp_base.registry import code_digest
from tests.installed import install
from tests.refusals import refusal


@pytest.fixture
def animals(tmp_path, monkeypatch):
    """The registry of a package `zoo`, whose room it is, with a broken package beside it."""
    room = tmp_path / "zoo"
    (room / "machinery").mkdir(parents=True)
    (room / "__init__.py").write_text("from dp_base.registry import Registry\nANIMALS = Registry('animals', 'zoo')\n")
    (room / "cat.py").write_text("from zoo import ANIMALS\nANIMALS.register('cat', 'meow', place=1)\n")
    (room / "ant.py").write_text("from zoo import ANIMALS\nANIMALS.register('ant', '')\n")
    (room / "machinery" / "__init__.py").write_text("raise AssertionError('sub-packages are not searched')\n")
    broken = "[deliberate_practice.animals]\ncow = farm\n"
    install(tmp_path, "farm", {"farm.py": "raise RuntimeError('no grass')\n"}, broken)
    monkeypatch.syspath_prepend(tmp_path)
    import zoo

    yield zoo.ANIMALS
    for name in [name for name in sys.modules if name.partition(".")[0] == "zoo"]:
        del sys.modules[name]


def test_files_of_the_room_register_in_their_places(animals):
    assert animals.items() == [("cat", "meow"), ("ant", "")]
    assert "cat" in animals
    assert "machinery" not in animals


def test_threads_find_all_kinds(animals, tmp_path):
    slow = "import time; time.sleep(0.3)\nfrom zoo import ANIMALS\nANIMALS.register('dog', 'woof')\n"
    (tmp_path / "zoo" / "dog.py").write_text(slow)
    with ThreadPoolExecutor(2) as threads:
        assert [*threads.map(animals.__getitem__, ["dog", "dog"])] == ["woof", "woof"]


def test_a_broken_package_stops_only_who_asks_for_it(animals):
    """tests/dp_real/config/test_extension.py has one that is whole."""
    with refusal(r"'cow' cannot be loaded: farm: RuntimeError: no grass", MissingError):
        animals["cow"]


def test_code_of_a_namespace_package_is_found(tmp_path, monkeypatch):
    (tmp_path / "sky" / "storage" / "blob").mkdir(parents=True)
    blob, user = tmp_path / "sky" / "storage" / "blob" / "__init__.py", tmp_path / "renders.py"
    user.write_text("from sky.storage import blob\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    for text in ("a = 1\n", "a = 2\n"):
        blob.write_text(text)
        seen.append(code_digest("renders"))
    assert len({*seen, ""}) == 3


def test_a_name_is_taken_once(animals):
    animals.register("cat", animals["cat"])
    with pytest.raises(ValueError, match="two of the animals are called 'cat'"):
        animals.register("cat", "woof")
