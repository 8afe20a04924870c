"""What several test folders share. One torch thread: pytest-xdist already fills the cores."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.shapes import PACKAGES, check_shapes_of

check_shapes_of(PACKAGES)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run of digits with two additions. Tests copy it before they change anything."""
    from tests.experiments.conftest import run_dp
    from torture.attempt import SMALL

    folder = tmp_path_factory.mktemp("small") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("small-cache")))
        assert run_dp("real", "run", *SMALL, "--out", folder) == 0
    return folder
