"""`dp figures`: draw the figures, and a page that shows them."""

from pathlib import Path
from typing import Annotated

import typer

from dp_base.locks import locked
from experiments.terminal import say


def command(
    wanted: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; all by default.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for PNG, PDF, CSV and index.html.")] = Path("out/figures"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer trials and seeds: larger error bars.")] = False,
) -> None:
    """Draw the paper's figures from theory, simulations and runs; what is up to date is not drawn again."""
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
