"""The house: rooms that one can name, arrows that point down, files that hold one thought."""

import re
from graphlib import TopologicalSorter

import pytest

from tests.source import FLOORS, ROOT, imported, modules


@pytest.fixture(scope="module")
def graph():
    known = modules()
    return {name: (imported(path) & known.keys()) - {name} for name, path in known.items()}


def acyclic(arrows):
    """Raises CycleError, which names the circle, if there is one."""
    return bool(list(TopologicalSorter(arrows).static_order()))


def within(room, graph):
    """Arrows between the files and rooms that lie in `room`, whole rooms taken together; its __init__ is left out."""
    arrows = {}
    place = room.count(".") + 1
    for name, targets in graph.items():
        if name.startswith(f"{room}."):
            part = name.split(".")[place]
            inner = {target.split(".")[place] for target in targets if target.startswith(f"{room}.")}
            arrows.setdefault(part, set()).update(inner - {part})
    return arrows


def test_modules_have_no_import_circles(graph):
    """Neither at their heads nor inside their functions; a package's face imports its rooms on demand."""
    assert acyclic({name: {target for target in targets if "." in target} for name, targets in graph.items()})


def test_rooms_have_no_import_circles(graph):
    rooms = [name for name, path in modules().items() if path.name == "__init__.py"]
    assert all(acyclic(arrows) for arrows in (within(room, graph) for room in rooms) if arrows)


def test_packages_import_from_lower_ones_only(graph):
    height = {package: place for place, packages in enumerate(FLOORS) for package in packages}
    for name, targets in graph.items():
        own = name.split(".")[0]
        others = {target for target in targets if target.split(".")[0] != own}
        assert not {target for target in others if height[target.split(".")[0]] >= height[own]}, name


def test_each_equation_that_code_cites_stands_in_the_docs():
    """Citations read (T1.4): equation 4 of the page theorem-1."""
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "theory").glob("*.md"))
    tags = re.findall(r"\\tag\{(T\d+\.\d+)\}", pages)
    assert len(tags) == len(set(tags))
    cited = {tag for path in modules().values() for tag in re.findall(r"\((T\d+\.\d+)\)", path.read_text())}
    assert cited
    assert cited <= set(tags)
    assert set(re.findall(r"\((T\d+\.\d+)\)", pages)) <= set(tags)
