"""Tables and progress bars on a terminal; apart, because rich takes a while to import."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

NUMBER = re.compile(r"[-+−±.,/%\de ]*|-?inf")  # a cell of numbers, or one without a value
LIGHT: dict[str, Any] = {"box": SIMPLE_HEAD, "padding": 0, "show_edge": False}


def print_table(names: Sequence[str], cells: Sequence[Sequence[str]], title: str) -> None:
    """No word is broken, since it may be a number; brackets are no markup.

    On a narrow terminal the lines between columns go, and headers continue behind `_`. Rows that are wider still are
    printed as lines of name and value.
    """
    console, grid, widths = Console(), Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2)), []
    columns = list(zip(names, *cells, strict=True))
    for style, borders in (({}, 3 * len(names) + 1), (LIGHT, len(names) - 1)):
        if widths := _widths(columns, console.width - borders):
            grid = Table(**style)
            for (name, *column), width in zip(columns, widths, strict=True):
                header = name if cell_len(name) <= width else name.replace("_", "_\n")
                justify = "right" if all(map(NUMBER.fullmatch, column)) else "left"
                grid.add_column(Text(header), justify=justify, width=width)
            break
    for row in cells:
        for line in [row] if widths else [*zip(names, row, strict=True), ()]:
            grid.add_row(*map(Text, line))
    grid.title = Text(title, style="italic") if title else None
    console.print(grid)


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """The widths of columns: the longest word, and a share of what is left; empty without enough room."""
    least = [max(map(cell_len, " ".join((name.replace("_", "_ "), *column)).split())) for name, *column in columns]
    more = [max(map(cell_len, column)) - word for column, word in zip(columns, least, strict=True)]
    spare = room - sum(least)
    share = min(1, spare / max(1, sum(more)))
    return [word + int(share * further) for word, further in zip(least, more, strict=True)] if spare >= 0 else []


class Rate(ProgressColumn):
    """The column with the steps per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.3g}/s" if task.speed else "")


@contextlib.contextmanager
def bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, which disappears at the end."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    shown = Progress(*columns, console=Console(stderr=True), transient=True)
    with shown:
        task = shown.add_task(description, total=total)
        yield lambda steps: shown.advance(task, steps)
