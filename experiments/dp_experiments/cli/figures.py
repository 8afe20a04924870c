"""`dp figures`: draws figures."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from dp_base.errors import InputError, MissingError
from dp_base.locks import locked
from dp_experiments.terminal.lines import say, table

COMPARE = "compare"


def figures_command(
    wanted: Annotated[
        list[str] | None,
        Argument(
            metavar="NAME | compare A B…",
            help="Figures to draw.  Default: all.  Or compare, then runs, comparisons, sweeps, table4 or table5, which "
            "are drawn on one plot.",
        ),
    ] = None,
    out: Annotated[Path, Option(help="Folder for PNG, PDF, CSV and index.html.")] = Path("out/figures"),
    quick: Annotated[bool, Option("--quick", help="Fewer trials and seeds, so larger error bars.")] = False,
    listed: Annotated[bool, Option("--list", help="List figures, and draw none.")] = False,
) -> None:
    """The figures come from theory, simulations and runs.

    A name of the paper, such as fig5, draws all that show it.
    """
    from dp_experiments.paper.gallery import about, check_names, modules

    if wanted and wanted[0] == COMPARE:
        if quick or listed:
            raise InputError(f"{COMPARE} takes what it compares, and --out alone")
        _compare(wanted[1:], out)
        return
    figures = check_names(wanted or modules())
    if not listed:
        _draw(figures, out, quick)
        return
    found = {name: about(name) for name in figures}
    table([{"name": name, "paper": ", ".join(each.paper), "shows": each.shows} for name, each in found.items()])


def _compare(sources: list[str], out: Path) -> None:
    from dp_figures.curves import save

    from dp_base.files import as_input_error, write_text
    from dp_experiments.paper.one_plot import laid_out, picture

    if not sources:
        raise InputError(f"{COMPARE}: name what to compare, as in dp figures {COMPARE} table4 RUN")
    curves = laid_out(sources)
    with as_input_error(out):
        out.mkdir(parents=True, exist_ok=True)
    write_text(out / f"{COMPARE}.csv", curves.to_csv(index=False))
    save(picture(curves), out / COMPARE)
    print(*(out / f"{COMPARE}{ending}" for ending in (".csv", ".png", ".pdf")), sep="\n")


def _draw(figures: list[str], out: Path, quick: bool) -> None:
    """A figure that fails does not stop the others, but the command."""
    from dp_experiments.paper.gallery import Gallery

    failed: dict[str, InputError | MissingError] = {}
    with locked(out):
        gallery = Gallery(out)
        for index, name in enumerate(figures, start=1):
            place = f"[{index}/{len(figures)}] {name}"
            say(f"{place} ...")
            try:
                say(f"{place}: {gallery.make(name, quick):.1f} s")
            except (InputError, MissingError) as error:
                if len(figures) == 1:
                    raise
                say(f"{place}: {error}")
                failed[name] = error
        if len(failed) < len(figures):
            print(gallery.page)
    if failed:
        (first, error), *others = failed.items()
        more = f"; nor were {', '.join(other for other, _ in others)}" if others else ""
        raise type(error)(f"figure {first} was not drawn: {error}{more}")
