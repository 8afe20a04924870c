"""What commands print: rich tables and bars on a terminal, plain lines if piped, one JSON object with --json."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dp_base.files import strict_json

if TYPE_CHECKING:
    import pandas as pd

SOONEST = 2.0  # seconds between two lines of progress that are a tenth of the work apart
LATEST = 30.0  # seconds after which there is a line even if less work was done
ASIDE_EVERY = 60.0  # seconds between two lines about one of several pieces of work
_BREAKS = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
"""How cells show what would begin another cell or another row."""


def say(message: str) -> None:
    """Print a remark on stderr, since stdout is for data. If stderr cannot be written to, work goes on without it."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def emit_json(record: Mapping[str, Any]) -> None:
    """Print the answer of a --json command: one object of strict JSON. nan and inf become null."""
    print(strict_json(record, indent=2))


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a data frame for `table` and `emit_json`, with keys of text."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def table(rows: Sequence[Mapping[Any, Any]], title: str = "", columns: Sequence[str] | None = None) -> None:
    """Print rows that have the same keys, floats with four significant digits. If piped, columns are tab-separated.

    columns: which keys are shown, in this order; by default all.
    """
    columns = list(columns or (rows[0] if rows else []))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not sys.stdout.isatty():
        if title:
            say(title)
        print("\n".join("\t".join(line) for line in [columns, *cells]))
        return
    rich_table = Table(title=Text(title, style="italic") if title else None)
    for column in columns:
        rich_table.add_column(Text(str(column)), justify="left" if column in ("strategy", "rule", "arm") else "right")
    for line in cells:
        rich_table.add_row(*map(Text, line))  # as Text, what stands in brackets is no markup
    Console().print(rich_table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value).translate(_BREAKS)


class Rate(ProgressColumn):
    """The column with the steps per second."""

    def render(self, task: Task) -> Text:
        """The rate as text, empty before the first step."""
        return Text(f"{task.speed:.3g}/s" if task.speed else "")


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr with rate and time left. If piped, print a line now and then.

    Yields `advance(steps)`, to be called when so many of the `total` steps are done.
    """
    if not sys.stderr.isatty():
        lines = _ProgressLines(description, total)
        yield lines.advance
        lines.end()
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)


class _ProgressLines:
    """Lines that say how far a piece of work is."""

    def __init__(self, description: str, total: int) -> None:
        self._description = description
        self._total = total
        self._done = 0
        self._done_at_last_line = 0
        self._time_of_last_line = time.monotonic()

    def advance(self, steps: int) -> None:
        """Count steps that were done, and print a line if it is time for one."""
        self._done += steps
        passed = time.monotonic() - self._time_of_last_line
        is_tenth = 10 * (self._done - self._done_at_last_line) >= self._total
        if (is_tenth and passed > SOONEST) or passed > LATEST:
            self._say()

    def end(self) -> None:
        """Print the last line, if one was printed before."""
        if 0 < self._done_at_last_line < self._done:
            self._say()

    def _say(self) -> None:
        say(f"{self._description}: {self._done}/{self._total}")
        self._done_at_last_line = self._done
        self._time_of_last_line = time.monotonic()


def aside(what: str) -> Callable[[str, int], contextlib.AbstractContextManager[Callable[[int], None]]]:
    """The `progress` of one of several pieces of work: a line a minute if piped. On a terminal they share a bar.

    what: names the piece of work.
    """

    @contextlib.contextmanager
    def lines(description: str, total: int) -> Iterator[Callable[[int], None]]:
        done = 0
        said = time.monotonic()

        def advance(steps: int) -> None:
            nonlocal done, said
            done += steps
            if not sys.stderr.isatty() and time.monotonic() - said > ASIDE_EVERY:
                said = time.monotonic()
                say(f"{what}: {description}: {done}/{total}")

        yield advance

    return lines
