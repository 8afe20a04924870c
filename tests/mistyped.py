"""For tests of what is refused: a value that no type checker would let through."""

from typing import Any


def mistyped(value: object) -> Any:
    """The value itself, but of any type to a type checker."""
    return value
