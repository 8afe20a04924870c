"""The interface through which long work reports progress; the caller decides how to show it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""`progress(description, total)` is a context manager. It yields `advance(steps)`, to be called when steps are done."""


@contextmanager
def silent(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A `Progress` that shows nothing, as all work does unless its caller shows it."""
    yield lambda steps: None


_shown = ContextVar[Progress]("progress", default=silent)


@contextmanager
def showing(shown: Progress | None) -> Iterator[None]:
    """Show the progress of the block's work in this way; None: as around the block."""
    before = _shown.set(shown or _shown.get())
    try:
        yield
    finally:
        _shown.reset(before)


def progress(description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """The `Progress` of the block of `showing`."""
    return _shown.get()(description, total)
