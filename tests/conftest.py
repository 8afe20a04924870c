"""What several test folders share. One torch thread: pytest-xdist already fills the cores."""

import os
import tomllib
from importlib.metadata import distribution

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")  # commands of theory take all cores

from tests.cluster import two_workers
from tests.shapes import PACKAGES, check_shapes_of
from tests.source import ROOT

check_shapes_of(PACKAGES)


def pytest_configure():
    """Studies and text kinds are entry points, which an older installation of this checkout does not know."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    known = {(entry.group, entry.name, entry.value) for entry in distribution("deliberate-practice").entry_points}
    if not {(group, *entry) for group, entries in declared.items() for entry in entries.items()} <= known:
        remedy = "python -m pip install --no-deps --no-build-isolation --editable ."
        pytest.exit(f"the installed entry points are not those of pyproject.toml: {remedy}", 2)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """One cache of generators for all tests, in all processes of pytest-xdist: each generator is trained once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def scheduler():
    """The address of a dask scheduler with two workers, each a process."""
    with two_workers() as address:
        yield address


@pytest.fixture
def patch(monkeypatch):
    """Sets what a dotted name, or an object and a name, stand for until the test ends."""
    return monkeypatch.setattr


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache of this test's own, which the processes that it starts inherit."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def datasets_cache(tmp_path_factory, patch):
    """Give `datasets` an empty cache."""
    import datasets

    patch("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
    datasets.disable_progress_bars()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
