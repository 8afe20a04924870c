"""Draws figures, each with its table, and writes a page that shows them all.

A figure is a module: compute(quick) returns a tidy table (`dp_figures.tables`), draw(table) a matplotlib figure, and
caption(table) its text. The docstring says what it shows.

The figure NAME is the module NAME (with _ for -) of `paper.figures`, or another package's entry point:

    [project.entry-points."deliberate_practice.figures"]
    mine = "my_package.my_figure"
"""

import difflib
import importlib
import pkgutil
import re
import time
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from dp_figures.curves import save

from dp_base.errors import InputError, MissingError
from dp_base.files import as_input_error, unused, write_json, write_text
from dp_base.imports import needing
from dp_base.reading import read_json
from dp_base.registry import GROUP
from dp_experiments.paper import figures
from dp_experiments.terminal.pages import rendered

RECORD = "figures.json"
"""The file that records the figures of a folder: caption, command and seconds of each, by its name."""
OF_PAPER = re.compile(r"fig\d+")
GRIDS = {"fig10": "grid-rounds", "fig11": "grid-rounds", "fig12": "grid-omega", "fig13": "grid-omega"}
"""The figures of the paper that the names of ours do not begin with."""


def modules() -> dict[str, str]:
    """The module of each figure, without importing it; a name that is taken is refused."""
    own = [module.name for module in pkgutil.iter_modules(figures.__path__)]
    modules = {name.replace("_", "-"): f"{figures.__name__}.{name}" for name in own}
    for entry in entry_points(group=f"{GROUP}.figures"):
        if modules.setdefault(entry.name, entry.value) != entry.value:
            raise InputError(f"two of the figures are called {entry.name!r}: {modules[entry.name]} and {entry.value}")
    return dict(sorted(modules.items()))


def check_names(wanted: Iterable[str], also: Iterable[str] = ()) -> list[str]:
    """The wanted names, each once; one of the paper's, such as fig5, stands for all that draw it."""
    known, names = [*modules(), *also], []
    for part in wanted:
        name = GRIDS.get(part, part)
        alike = [name] if name in known else [other for other in known if other.startswith(name)]
        if not alike or (name not in known and not OF_PAPER.fullmatch(name)):
            nearest = (alike or difflib.get_close_matches(name, known, 1, cutoff=0))[0]
            raise InputError(f"there is no figure {name!r}; did you mean {nearest!r}? All: {', '.join(known)}")
        names += alike
    return list(dict.fromkeys(names))


def load(name: str) -> Any:
    """The module of a figure."""
    try:
        with needing("real", "this figure"):
            return importlib.import_module(modules()[name])
    except ImportError as error:
        raise MissingError(f"figure {name!r} cannot be loaded: {modules()[name]}: {error}") from None


class Gallery:
    """A folder of figures: NAME.csv, .png and .pdf of each, and index.html."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page = folder / "index.html"
        self.record: dict[str, Any] = {}
        with as_input_error(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / RECORD).exists():
                self.record = read_json(folder / RECORD, "give --out another folder, or remove that file")
            elif unused(folder):
                self._write()
            else:
                raise InputError(
                    f"--out {folder} holds something else; give a new or empty folder, or one with figures"
                )

    def make(self, name: str, quick: bool) -> float:
        """Write the table and the pictures of a figure; the seconds that it took."""
        module = load(name)
        start = time.perf_counter()
        with needing("real", "this figure"):
            table = module.compute(quick)
        write_text(self.folder / f"{name}.csv", table.to_csv(index=False))
        save(module.draw(table), self.folder / name)
        seconds = round(time.perf_counter() - start, 1)
        self.record[name] = {
            "caption": module.caption(table),
            "command": f"dp figures {name}" + (" --quick" if quick else ""),
            "seconds": seconds,
        }
        self._write()
        return seconds

    def _write(self) -> None:
        self.record = dict(sorted(self.record.items()))
        write_json(self.folder / RECORD, self.record)
        write_text(self.page, rendered("dp_experiments.paper", "gallery.html.jinja", record=self.record))
