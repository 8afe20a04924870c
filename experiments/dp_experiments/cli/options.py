"""Options that commands of several groups share."""

from typing import Annotated

from typer import Option

Json = Annotated[bool, Option("--json", help="Print one JSON object on stdout, and nothing else.")]


def comma_list(text: str) -> list[str]:
    """The names of a comma list."""
    return [name.strip() for name in text.split(",")]
