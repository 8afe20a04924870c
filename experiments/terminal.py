"""Output of commands: rich tables and bars on a terminal, plain lines if piped, one JSON object with --json."""

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

EVERY_SECONDS = 2.0  # least time between two lines of progress, which are a tenth of the work apart,
AT_LEAST_EVERY = 30.0  # or so many seconds
_BREAKS = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})  # which would begin another cell, or row
ASIDE_EVERY = 60.0  # seconds between two lines about one of several pieces of work


def say(message: str) -> None:
    """Print a remark on stderr, since stdout is for data. If stderr cannot be written to, the work goes on without."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def emit_json(record: Mapping[str, Any]) -> None:
    """Print the answer of a --json command: one object of strict JSON. nan and inf become null."""
    print(strict_json(record, indent=2))


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a data frame, for `table` and `emit_json`; keys are text."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def table(rows: Sequence[Mapping[Any, Any]], title: str = "", columns: Sequence[str] | None = None) -> None:
    """Print rows of equal keys. Floats have four significant digits. If piped, columns are tab-separated."""
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
        rich_table.add_row(*map(Text, line))  # as they are: what stands in brackets is no markup
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
    """A progress bar on stderr with rate and time left. Yields `advance(steps)`. If piped: a line now and then."""
    if not sys.stderr.isatty():
        done, told, said = 0, 0, time.monotonic()

        def advance_plainly(steps: int) -> None:
            nonlocal done, told, said
            done += steps
            passed = time.monotonic() - said
            tenth = 10 * (done - told) >= total
            if (tenth and passed > EVERY_SECONDS) or passed > AT_LEAST_EVERY:
                told, said = done, time.monotonic()
                say(f"{description}: {done}/{total}")

        yield advance_plainly
        if 0 < told < done:  # if a line was printed, the last one is printed too
            say(f"{description}: {done}/{total}")
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)


def aside(what: str) -> Callable[[str, int], contextlib.AbstractContextManager[Callable[[int], None]]]:
    """The progress of one of several pieces of work: a line a minute if piped. On a terminal they share a bar."""

    @contextlib.contextmanager
    def lines(description: str, total: int) -> Iterator[Callable[[int], None]]:
        done, said = 0, time.monotonic()

        def advance(steps: int) -> None:
            nonlocal done, said
            done += steps
            if not sys.stderr.isatty() and time.monotonic() - said > ASIDE_EVERY:
                said = time.monotonic()
                say(f"{what}: {description}: {done}/{total}")

        yield advance

    return lines
