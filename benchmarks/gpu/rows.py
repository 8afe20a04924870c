"""Rows of the table: each is run within its time, and what it measures or why it failed is written at once."""

import csv
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from dp_real.distributed import out_of_memory, release

COLUMNS = ("row", "quantity", "value", "unit", "limit", "verdict", "seconds", "error")
MEASURED = "measured"  # nothing was demanded of it
PASSED = "passed"
FAILED = "FAILED"
ERROR = "ERROR"
LEFT_OUT = "left out"
NO_MEMORY = "no memory"  # as may be expected of large batches
BAD = (FAILED, ERROR)


class Measured(NamedTuple):
    """A quantity that a row measured. With a limit, the row fails if the value is beyond it or is no number."""

    quantity: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def limit(self) -> str:
        """The limit in words; empty without one."""
        parts = [] if self.at_least is None else [f">= {self.at_least:g}"]
        return " ".join(parts + ([] if self.at_most is None else [f"<= {self.at_most:g}"]))

    @property
    def verdict(self) -> str:
        """Whether the value is within the limit."""
        if not self.limit:
            return MEASURED
        too_small = self.at_least is not None and not self.value >= self.at_least
        too_large = self.at_most is not None and not self.value <= self.at_most
        return FAILED if too_small or too_large else PASSED


class Row(NamedTuple):
    """A measurement: its name, its time limit in seconds, and the work that yields what it measures."""

    name: str
    seconds: float
    work: Callable[[], Iterable[Measured]]


class NoTime(Exception):
    """A row took longer than it may."""


class Table:
    """Runs rows, and writes each line of the table to a CSV file as soon as it is known.

    Parameters
    ----------
    path
        The CSV file. It is replaced.
    minutes
        Of all rows. Those that do not begin within this time are left out, and the last one is cut short.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path = path
        self.deadline = time.monotonic() + 60 * minutes
        self.lines: list[dict[str, str]] = []

    def run(self, rows: Sequence[Row]) -> None:
        """Run the rows in order."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "w", newline="", encoding="utf-8") as file:
            writer: csv.DictWriter[str] = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for row in rows:
                for line in self._lines(row):
                    writer.writerow(line)
                    file.flush()
                    if line["verdict"] != LEFT_OUT:
                        show(line)
                    self.lines.append(line)
                release()  # what the row left behind

    def _lines(self, row: Row) -> Iterator[dict[str, str]]:
        """The lines of a row. An error is a line, too."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            yield _line(row, 0.0, verdict=LEFT_OUT, error="no time was left")
            return
        begin = time.monotonic()
        found = 0
        try:
            with time_limit(min(row.seconds, left)):
                for measured in row.work():
                    found += 1
                    yield _line(row, time.monotonic() - begin, measured)
        except Exception as error:
            verdict = NO_MEMORY if out_of_memory(error) else ERROR
            yield _line(row, time.monotonic() - begin, verdict=verdict, error=_in_words(error))
        else:
            if not found:
                yield _line(row, time.monotonic() - begin, verdict=LEFT_OUT, error="it needs a GPU")

    def left_out(self) -> list[str]:
        """The names of the rows for which no time was left, or no GPU was there."""
        return [line["row"] for line in self.lines if line["verdict"] == LEFT_OUT]

    def failed(self) -> list[str]:
        """The names of the rows that failed."""
        return list(dict.fromkeys(line["row"] for line in self.lines if line["verdict"] in BAD))


def show(line: dict[str, str], file: TextIO | None = None) -> None:
    """Print a line of the table."""
    value = f"{line['value']} {line['unit']}".strip()
    limit = f"({line['limit']})" if line["limit"] else ""
    words = f"{line['row']:38} {line['quantity']:32} {value:>16} {limit:12} {line['verdict']:9} {line['error']}"
    print(words.rstrip(), file=file, flush=True)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise NoTime in the block after this time. A kernel that is running is waited for."""

    def end(number: int, frame: object) -> None:
        raise NoTime(f"it took longer than {seconds:.3g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _line(
    row: Row, seconds: float, measured: Measured | None = None, verdict: str = "", error: str = ""
) -> dict[str, str]:
    """A line of the table."""
    value = "" if measured is None or math.isnan(measured.value) else f"{measured.value:.4g}"
    return {
        "row": row.name,
        "quantity": measured.quantity if measured else "",
        "value": value,
        "unit": measured.unit if measured else "",
        "limit": measured.limit if measured else "",
        "verdict": verdict or (measured.verdict if measured else ""),
        "seconds": f"{seconds:.1f}",
        "error": error,
    }


def _in_words(error: Exception) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
