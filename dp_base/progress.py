"""The interface through which long work reports progress; the caller decides how to show it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""`progress(description, total)` is a context manager. It yields `advance(steps)`, to be called when steps are done."""


@contextmanager
def silent(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A `Progress` that shows nothing."""
    yield lambda steps: None
