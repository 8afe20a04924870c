"""How long work says how far it is, without knowing who watches."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""progress(description, total) gives a context in which advance(steps) is called as steps are done."""


@contextmanager
def silent(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A Progress that nobody sees."""
    yield lambda steps: None
