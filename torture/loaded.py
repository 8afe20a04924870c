"""`python -m torture.loaded`: a process that has loaded what `dp` needs, which takes most of a small run.

Requests are lines of JSON; each is answered with the fork's process id, and a file with its status follows.
"""

import gc
import importlib
import json
import os
import select
import sys
from pathlib import Path
from typing import Any, NamedTuple

MODULES = (
    "sklearn.datasets",
    "torch._dynamo",
    "dp_experiments.cli.commands",
    "dp_experiments.looking.report.pictures",
    "dp_real.plan.needs",
    "dp_real.runs.run",
    "dp_figures.style",
)
"""What a run loads, sooner or later."""
STATUS = "status"  # the file, in the folder of a fork's streams, that holds how it ended
POLL = 0.02  # seconds between two looks at the forks


class Request(NamedTuple):
    """Python code, the words that follow `dp`, and where and with what it runs."""

    code: str
    words: list[str]
    streams: str
    folder: str
    environment: dict[str, str]


def load() -> None:
    """Import the modules that a run needs."""
    for module in MODULES:
        importlib.import_module(module)


def serve() -> Request | None:
    """The request in a fork; None in this process once its input has ended."""
    streams_of: dict[int, Path] = {}
    while True:
        _note_ends(streams_of)
        if not select.select([sys.stdin], [], [], POLL)[0]:
            continue
        line = sys.stdin.readline()
        if not line:
            return None
        request = Request(**json.loads(line))
        pid = os.fork()
        if not pid:
            return request
        streams_of[pid] = Path(request.streams)
        print(pid, flush=True)


def _note_ends(streams_of: dict[int, Path]) -> None:
    """Write the status of each ended fork; a signal is negative."""
    for pid in list(streams_of):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            streams = streams_of.pop(pid)
            part = streams / f".{STATUS}"
            part.write_text(str(os.waitstatus_to_exitcode(status)))
            part.rename(streams / STATUS)


def become(request: Request) -> dict[str, Any]:
    """Take over a request's surroundings; returns the globals of its code."""
    os.setsid()
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    streams = Path(request.streams)
    for number, (file, flags) in enumerate(
        (
            (os.devnull, os.O_RDONLY),
            (streams / "out", os.O_WRONLY | os.O_CREAT),
            (streams / "err", os.O_WRONLY | os.O_CREAT),
        )
    ):
        os.dup2(os.open(file, flags), number)
    sys.argv = ["dp", *request.words]
    return {"__name__": "__main__"}


if __name__ == "__main__":
    load()
    gc.freeze()  # so that the collector of a fork leaves alone, and in shared memory, what is loaded
    asked = serve()
    if asked is not None:
        exec(asked.code, become(asked))
