"""Tables and progress bars on a terminal; apart, because rich takes a while to import."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

LEFT = ("strategy", "rule", "arm")  # columns of names; the others are numbers, on the right


def print_table(names: Sequence[str], cells: Sequence[Sequence[str]], title: str) -> None:
    """Brackets are no markup, and no text is cut: on a narrow terminal cells go on in the next line."""
    grid = Table(title=Text(title, style="italic") if title else None)
    for name in names:
        justify = "left" if name in LEFT else "right"
        grid.add_column(Text(str(name)), justify=justify, overflow="fold", no_wrap=not grid.columns)
    for line in cells:
        grid.add_row(*map(Text, line))
    Console().print(grid)


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
