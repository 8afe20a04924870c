"""Runs `dp` in this process."""

import itertools
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pytest
from dp_experiments.cli import main
from dp_experiments.cli.lazy import LazyCommand
from typer.core import TyperGroup

from dp_base.errors import STOP_SIGNALS


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


@pytest.fixture
def theory(capsys: pytest.CaptureFixture[str]) -> Theory:
    """Runs `dp theory ARGUMENTS`."""

    def run(*arguments: object) -> Answer:
        status = run_dp("theory", *arguments)
        out, err = capsys.readouterr()
        return Answer(status, out, err)

    return run
