"""Draws figures, each with its table, and writes a page that shows them all.

A figure is a module: compute(quick) returns a tidy table (`dp_figures.tables`), draw(table) a matplotlib figure, and
caption(table) its text. The docstring says what it shows, and FIGURES which figures of the paper it draws.

The figure NAME is the module NAME (with _ for -) of `paper.figures`, or another package's entry point:

    [project.entry-points."deliberate_practice.figures"]
    mine = "my_package.my_figure"
"""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
import time
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

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


def modules() -> dict[str, str]:
    """The module of each figure, without importing it; a name that is taken is refused."""
    own = [module.name for module in pkgutil.iter_modules(figures.__path__)]
    modules = {name.replace("_", "-"): f"{figures.__name__}.{name}" for name in own}
    for entry in entry_points(group=f"{GROUP}.figures"):
        if modules.setdefault(entry.name, entry.value) != entry.value:
            raise InputError(f"two of the figures are called {entry.name!r}: {modules[entry.name]} and {entry.value}")
    return dict(sorted(modules.items()))


class About(NamedTuple):
    """What the source of a figure's module says of it."""

    paper: list[str]
    """The paper's names of it, such as fig5."""
    shows: str


def about(name: str) -> About:
    """Read from the source without importing it: some figures need torch."""
    file = _file_of(name)
    tree = ast.parse(file.read_text(encoding="utf-8") if file else "")
    paper: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FIGURES":
            paper = [f"fig{number}" for number in ast.literal_eval(node.value)]
    return About(paper, (ast.get_docstring(tree) or "").partition("\n")[0])


def _file_of(name: str) -> Path | None:
    spec = importlib.util.find_spec(modules()[name])
    return Path(spec.origin) if spec and spec.origin else None


def check_names(wanted: Iterable[str], also: Iterable[str] = ()) -> list[str]:
    """The wanted names, each once; one of the paper's stands for all that draw it."""
    own: dict[str, list[str]] = {}  # by the paper's name of it, such as fig5
    for name in modules():
        for number in about(name).paper:
            own.setdefault(number, []).append(name)
    known = [*modules(), *also]
    wanted = [name for part in wanted for name in ([part] if part in known else own.get(part, [part]))]
    for name in wanted:
        if name not in known:
            alike = [other for other in known if other.startswith(name)]
            nearest = (alike or difflib.get_close_matches(name, known, 1, cutoff=0))[0]
            raise InputError(f"there is no figure {name!r}; did you mean {nearest!r}? All: {', '.join(known)}")
    return list(dict.fromkeys(wanted))


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
