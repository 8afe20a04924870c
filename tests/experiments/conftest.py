"""Runs `dp` in this process, and the runs that tests of its commands share."""

import itertools
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from dp_experiments.cli import main
from dp_experiments.cli.lazy import LazyCommand
from typer.core import TyperGroup

from dp_base.errors import STOP_SIGNALS
from torture.attempt import SMALL_SETTINGS, as_options

GUIDED_SETTINGS = {
    "generator.training": "light",
    "sampling.steps": 6,
    "training.steps": 120,
    "training.learning_rate": 0.003,
    "practice.initial": 40,
    "practice.increment": 20,
    "practice.additions": 2,
    "practice.patience": 1,
    "practice.evaluate_every": 5,
    "guidance.omega": 0.04,
}
GUIDED = as_options(GUIDED_SETTINGS)
"""The settings of `guided_run`: a generator that draws digits, and a learner that knows some of them."""
SET = as_options(SMALL_SETTINGS)
"""Settings with which digits take a second."""
COMPARED = ("--arms", "practice,static-60,static", "--seeds", 2, "--splits", 1, "--first", 1, "--baseline", "static-60")
"""The options of `compared`."""
ODD_NAME = "a <b> & 'c'"
"""A folder's name, which must be escaped in HTML and in the shell."""


class Answer(NamedTuple):
    """What a command left: its exit status, and what it printed."""

    status: int
    out: str
    err: str

    def done(self) -> str:
        """What the command printed on stdout; it must have succeeded."""
        assert self.status == 0, self.err
        return self.out

    def refused(self) -> str:
        """The one line on stderr of a command that must have refused its input, with nothing on stdout."""
        assert (self.status, self.out) == (2, "")
        (line,) = self.err.splitlines()
        return line


Theory = Callable[..., Answer]


def with_defaults(arguments: Sequence[object], defaults: Mapping[str, object]) -> list[object]:
    """The arguments, with those options that they leave out: `dp` refuses an option that is given twice."""
    missing = [(option, value) for option, value in defaults.items() if option not in arguments]
    return [*arguments, *itertools.chain.from_iterable(missing)]


def run_dp(*arguments: object) -> int:
    """The exit status of `dp ARGUMENTS`; what it says is captured by capsys."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dp", *map(str, arguments)])
        patch.setenv("PYTHONSAFEPATH", "1")  # as `dp` sets them, but for this command only
        patch.setenv("MPLBACKEND", "agg")
        with pytest.raises(SystemExit) as exited:
            main.main()
    for number, handler in before.items():
        signal.signal(number, handler)
    assert isinstance(exited.value.code, int)
    return exited.value.code


def leaves(group: TyperGroup, *above: str) -> Iterator[tuple[tuple[str, ...], LazyCommand]]:
    """The commands of a group and of those within it, each with its words."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from leaves(command, *above, name)
        else:
            assert isinstance(command, LazyCommand)
            yield (*above, name), command


@pytest.fixture(scope="session")
def guided_run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of digits with seed 3 and two guided additions. Tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("guided") / ODD_NAME
    assert run_dp("real", "run", "digits", *GUIDED, "--seed", 3, "--out", folder) == 0
    return folder


@pytest.fixture(scope="session")
def text_run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of texts whose labels are soft. Tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("texts") / ODD_NAME
    settings = as_options({"training.steps": 20, "pool.soft_labels": "true", "pool.distinct": 0.0})
    assert run_dp("real", "run", "text-own-smoke", *settings, "--out", folder) == 0
    return folder


@pytest.fixture(scope="session")
def compared(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of three arms of digits. Tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("compared") / "compare"
    assert run_dp("real", "compare", "digits", *SET, *COMPARED, "--workers", 1, "--out", folder) == 0
    return folder


@pytest.fixture
def theory(capsys: pytest.CaptureFixture[str]) -> Theory:
    """Runs `dp theory ARGUMENTS`."""

    def run(*arguments: object) -> Answer:
        status = run_dp("theory", *arguments)
        out, err = capsys.readouterr()
        return Answer(status, out, err)

    return run
