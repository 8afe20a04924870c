"""Pages, which are HTML files that need no other, and tables in Markdown."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jinja2

from dp_base.errors import InputError
from dp_base.files import as_input_error, write_text


def rendered(package: str, template: str, *filters: Callable[..., Any], **values: Any) -> str:
    """A template that lies in a package, filled in. All values are escaped."""
    loader = jinja2.PackageLoader(package, "")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {function.__name__: function for function in filters}
    return environment.get_template(template).render(values)


def check_page(out: Path) -> Path:
    """The path of a page, which must be named FILE.html."""
    if out.suffix != ".html":
        raise InputError(f"--out {out}: it is a page; name it FILE.html")
    return out


def write_page(out: Path, text: str) -> None:
    """Write a page, or say why it cannot be written there."""
    with as_input_error(out):
        write_text(out, text)


def markdown_table(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown, each line with its end."""
    head = list(head)
    first, *others = (f"| {' | '.join(map(str, row))} |\n" for row in (head, *rows))
    return "".join((first, "|---" * len(head) + "|\n", *others))
