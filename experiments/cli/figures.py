"""`dp figures`: draws the figures, and writes a page that shows them."""

from pathlib import Path
from typing import Annotated

import typer

from dp_base.locks import locked
from experiments.terminal import say


def figures_command(
    wanted: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Figures to draw.  Default: all.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for PNG, PDF, CSV and index.html.")] = Path("out/figures"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer trials and seeds, so larger error bars.")] = False,
) -> None:
    """The figures come from theory, simulations and runs. One that is up to date is not drawn again."""
    from experiments.paper.gallery import Gallery, check_names, modules

    chosen = check_names(wanted or list(modules()))
    with locked(out):
        gallery = Gallery(out)
        for index, name in enumerate(chosen, start=1):
            place = f"[{index}/{len(chosen)}] {name}"
            if gallery.up_to_date(name, quick):
                say(f"{place}: up to date")
                continue
            say(f"{place} ...")
            say(f"{place}: {gallery.make(name, quick):.1f} s")
        print(gallery.page)
