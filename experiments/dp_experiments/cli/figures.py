"""`dp figures`: draws figures, and writes the paper's tables."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from dp_base.errors import InputError, MissingError
from dp_base.locks import locked
from dp_experiments.terminal.lines import say

COMPARE = "compare"


def figures_command(
    wanted: Annotated[
        list[str] | None,
        Argument(
            metavar="NAME | compare A B…",
            help="Figures to draw, or table1 to table5.  Default: all figures.  Or compare, then runs, comparisons, "
            "sweeps, table4 or table5, which are drawn on one plot.",
        ),
    ] = None,
    out: Annotated[Path, Option(help="Folder for PNG, PDF, CSV and index.html.")] = Path("out/figures"),
    quick: Annotated[bool, Option("--quick", help="Fewer trials and seeds, so larger error bars.")] = False,
    runs: Annotated[
        list[Path],
        Option(
            "--run",
            metavar="RUN",
            help="For a table: runs of its presets, in further columns.",
        ),
    ] = [],
    listed: Annotated[bool, Option("--list", help="Name figures and tables, and draw none.")] = False,
) -> None:
    """The figures come from theory, simulations and runs.

    A name of the paper, such as fig5, draws all that show it. Tables are written as CSV, Markdown, LaTeX and HTML.
    """
    from dp_experiments.paper.gallery import check_names, modules
    from dp_experiments.paper.tables import TABLES

    if wanted and wanted[0] == COMPARE:
        if runs or quick or listed:
            raise InputError(f"{COMPARE} takes what it compares, and --out alone")
        _compare(wanted[1:], out)
        return
    tables = [name for name in wanted or [] if name in TABLES]
    figures = [name for name in wanted or modules() if name not in TABLES]
    figures = check_names(figures, also=TABLES)
    if listed:
        print(*figures, *(tables if wanted else TABLES), sep="\n")
        return
    if runs and (figures or not tables):
        raise InputError("--run is for tables alone: name them, as in dp figures table4 --run RUN")
    if tables:
        _write_tables(tables, out, runs)
    if figures:
        _draw(figures, out, quick)


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


def _write_tables(tables: list[str], out: Path, runs: list[Path]) -> None:
    from dp_experiments.paper.tables import write_table

    finished = []
    if runs:
        from dp_real import Run

        finished = [Run(folder).unchanged(accept_changes=True) for folder in runs]
    for name in tables:
        for path in write_table(name, out, finished):
            print(path)


def _draw(figures: list[str], out: Path, quick: bool) -> None:
    """A figure that fails does not stop the others, but the command."""
    from dp_experiments.paper.gallery import Gallery

    failed: dict[str, InputError | MissingError | ArithmeticError] = {}
    with locked(out):
        gallery = Gallery(out)
        for index, name in enumerate(figures, start=1):
            place = f"[{index}/{len(figures)}] {name}"
            say(f"{place} ...")
            try:
                say(f"{place}: {gallery.make(name, quick):.1f} s")
            except (InputError, MissingError, ArithmeticError) as error:
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
