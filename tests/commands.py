"""Runs `dp` in this process, and says how it answered."""

import io
import json
import os
import shlex
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest import mock

from dp_experiments.cli import main
from typer.core import TyperGroup

from dp_base.errors import STOP_SIGNALS


class Answer(NamedTuple):
    """What a command left: its exit status, and what it printed."""

    status: int
    out: str
    err: str


def run_dp(*words):
    """The exit status of `dp WORDS`, which prints as it does for a user."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    status = 0
    with mock.patch.dict(os.environ), mock.patch.object(sys, "argv", ["dp", *map(str, words)]):
        try:
            main.main()
        except SystemExit as end:
            status = end.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return status


def answer_to(words):
    """The answer of `dp WORDS`."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        status = run_dp(*words)
    return Answer(status, out.getvalue(), err.getvalue())


def dp(*parts):
    """The answer of `dp PARTS`: a text is split into words as a shell does it, and anything else is a word."""
    return answer_to(word for part in parts for word in (shlex.split(part) if isinstance(part, str) else [part]))


def done(*parts, status=0):
    """The answer of `dp PARTS`, which must end with this status."""
    answer = dp(*parts)
    assert answer.status == status, answer.err
    return answer


def told(*parts, status=0):
    """The object that `dp PARTS --json` prints."""
    return json.loads(done(*parts, "--json", status=status).out)


def refused(*parts, status=2):
    """The one line of `dp PARTS`, which must have refused; stdout is empty."""
    _, out, err = done(*parts, status=status)
    assert out == ""
    (line,) = err.splitlines()
    return line


def leaves(group, *above):
    """The commands of a group and of those within it, each with its words."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from leaves(command, *above, name)
        else:
            yield (*above, name), command
