"""Running `dp` in this process."""

import signal
import sys
from collections.abc import Callable

import pytest

from experiments.cli import main


def run_dp(*arguments: object) -> int:
    """The exit status of `dp ARGUMENTS`; what it says is captured by capsys."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dp", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            main.main()
    signal.signal(signal.SIGINT, before)
    assert isinstance(exited.value.code, int)
    return exited.value.code


@pytest.fixture
def dp(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `dp theory ARGUMENTS`: (status, stdout, stderr)."""
    return lambda *arguments: (run_dp("theory", *arguments), *capsys.readouterr())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory):
    """A cache of generators for the tests of one module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
