"""Output of commands: tables and bars on a terminal, plain lines if piped, JSON with --json."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import current_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_base.files import strict_json

if TYPE_CHECKING:
    import pandas as pd

Advance = Callable[[int], None]  # takes the number of steps that were made

EVERY_SECONDS = 10.0  # between two lines of progress
ASIDE_EVERY = 60.0  # seconds between two lines about one of several pieces of work
BREAKS = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})  # characters that would begin another cell or row
CONTROLS = (*range(0x20), *range(0x7F, 0xA0))  # a terminal takes them for commands,
DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # and shows text after these in another order
VISIBLE = str.maketrans({code: f"\\u{code:04x}" for code in (*CONTROLS, *DIRECTIONS) if chr(code) not in "\t\n"})


def visible(text: str) -> str:
    r"""Spells out control characters but tabs and new lines, so that a terminal obeys none."""
    return text.translate(VISIBLE)


def say(message: str) -> None:
    """Print a remark on stderr; if it cannot be written to, nothing is raised."""
    with contextlib.suppress(OSError):
        print(visible(message), file=sys.stderr, flush=True)


Rows = Sequence[Mapping[Any, Any]]


def answer(as_json: bool, facts: Mapping[str, Any], *shown: str | Path | Rows | Mapping[str, Rows]) -> None:
    """Print the facts with --json, as one object of strict JSON in which nan and inf are null.

    Else print what is shown of them: rows as a table, {title: rows} as tables with titles, paths as they are, and
    remarks on stderr.
    """
    if as_json:
        print(strict_json(facts, indent=2))
        return
    for part in filter(None, shown):
        if isinstance(part, str):
            say(part)
        elif isinstance(part, Path):
            print(part)
        elif isinstance(part, Mapping):
            for title, rows in part.items():
                table(rows, title)
        else:
            table(part)


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a data frame, for `answer`; keys are text, and what is not known is None."""
    known = frame.astype(object).where(frame.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in known.to_dict("records")]


def table(rows: Rows, title: str = "") -> None:
    """Print rows, which may have different keys, as a table; if piped, as lines with tabs between cells.

    Floats have four significant digits.
    """
    names = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    shown_names = [visible(str(name).translate(BREAKS)) for name in names]
    if sys.stdout.isatty():
        from dp_experiments.terminal.rich import print_table

        print_table(shown_names, cells, visible(title))
        return
    if title:
        say(title)
    for line in (shown_names, *cells):
        print("\t".join(line))


def _cell(value: Any) -> str:
    if value is None or value == "" or value != value:  # nan
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value).translate(BREAKS))


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """Progress on stderr: a bar on a terminal, a line now and then if piped."""
    if sys.stderr.isatty():
        from dp_experiments.terminal.rich import bar

        with bar(description, total) as advance:
            yield advance
        return
    lines = ProgressLines(description, total)
    yield lines.advance
    lines.close()


class ProgressLines:
    """Progress as lines on stderr, so many seconds apart."""

    def __init__(self, description: str, total: int, seconds: float = EVERY_SECONDS) -> None:
        self.description = description
        self.total = total
        self.seconds = seconds
        self.done = 0
        self.printed = 0  # steps that were done at the last line
        self.printed_at = time.monotonic()

    def advance(self, steps: int) -> None:
        self.done += steps
        if time.monotonic() - self.printed_at > self.seconds:
            self.printed_at = time.monotonic()
            self._print()

    def close(self) -> None:
        if 0 < self.printed < self.done:
            self._print()

    def _print(self) -> None:
        self.printed = self.done
        say(f"{self.description}: {self.done}/{self.total}")


def aside(what: str) -> Callable[[str, int], contextlib.AbstractContextManager[Advance]]:
    """Progress of one of several pieces of work: a line a minute, which other processes leave out beside a bar."""

    @contextlib.contextmanager
    def lines(description: str, total: int) -> Iterator[Advance]:
        shown = ProgressLines(f"{what}: {description}", total, ASIDE_EVERY)
        beside_bar = sys.stderr.isatty() and current_process().name != "MainProcess"
        yield (lambda steps: None) if beside_bar else shown.advance

    return lines
