"""`dp figures`: draws the figures, and writes a page that shows them."""

from pathlib import Path
from typing import Annotated

import typer

from dp_base.errors import InputError, MissingError
from dp_base.locks import locked
from experiments.terminal import say, table


def figures_command(
    wanted: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Figures to draw.  Default: all.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for PNG, PDF, CSV and index.html.")] = Path("out/figures"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer trials and seeds, so larger error bars.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the figures, and draw none.")] = False,
) -> None:
    """The figures come from theory, simulations and runs. One that is up to date is not drawn again.

    A name of the paper, such as fig5, draws all that show it.
    """
    from experiments.paper.gallery import Gallery, about, check_names, modules

    if listed:
        rows = [about(name) for name in check_names(wanted or list(modules()))]
        named = {"paper": "", "numbers": ""}
        table([row._asdict() | {key: ", ".join(getattr(row, key)) for key in named} for row in rows])
        return
    chosen = check_names(wanted or list(modules()))
    failed: dict[str, InputError | MissingError] = {}
    with locked(out):
        gallery = Gallery(out)
        for index, name in enumerate(chosen, start=1):
            place = f"[{index}/{len(chosen)}] {name}"
            if gallery.up_to_date(name, quick):
                say(f"{place}: up to date")
                continue
            say(f"{place} ...")
            try:
                say(f"{place}: {gallery.make(name, quick):.1f} s")
            except (InputError, MissingError) as error:  # the others are drawn all the same
                say(f"{place}: {error}")
                failed[name] = error
        print(gallery.page)
    if failed:
        (first, error), *others = failed.items()
        more = f"; nor were {', '.join(name for name, _ in others)}" if others else ""
        raise type(error)(f"figure {first} was not drawn: {error}{more}")
