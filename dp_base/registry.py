"""Registries of named kinds of one thing, such as generators. Other packages can add kinds.

A module registers the kinds that it defines; the configuration's schema, the commands and the documentation list
them. Another package names its module as an entry point:

    [project.entry-points."deliberate_practice.generators"]
    mine = "my_package.my_generator"
"""

import ast
import importlib
import inspect
import pkgutil
import reprlib
import sysconfig
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from threading import get_ident
from typing import Generic, TypeVar, cast

from dp_base.checksums import digest, json_digest
from dp_base.errors import InputError, MissingError

Kind = TypeVar("Kind")
Decorated = TypeVar("Decorated")
GROUP = "deliberate_practice"
INSTALLED = {"site-packages", "dist-packages"}  # folders in which packages are installed
LAST = 100  # the place in lists of a kind that is registered without one
OWN = ("dp_base", "dp_theory", "dp_real", "dp_figures", "dp_experiments")  # whose code is identified by dp's version


class Registry(Generic[Kind]):
    """The kinds of one thing.

    Their modules are imported on first use. `what` is the thing's plural name; entry points are in the group
    deliberate_practice.WHAT. `room` is a module that registers kinds when imported, or a package of such modules.
    """

    def __init__(self, what: str, room: str) -> None:
        self.what = what
        self.room = room
        self._kinds: dict[str, tuple[int | None, Kind]] = {}
        self._broken: dict[str, str] = {}  # entry points that cannot be loaded, and why
        self._searched = False
        self._searching: set[int] = set()  # threads

    def register(self, name: str, kind: Kind, *, place: int | None = LAST) -> Kind:
        """Register a kind. Lists are sorted by `place`, then name, and omit place None.

        Raises ValueError for a taken name. With place None the name is a digest, and is replaced.
        """
        if place is not None and name in self._kinds and self._kinds[name][1] is not kind:
            raise ValueError(f"two of the {self.what} are called {name!r}")
        self._kinds[name] = (place, kind)
        return kind

    def named(self, name: str, *, place: int | None = LAST) -> Callable[[Decorated], Decorated]:
        def decorate(kind: Decorated) -> Decorated:
            self.register(name, cast(Kind, kind), place=place)
            return kind

        return decorate

    def __getitem__(self, name: str) -> Kind:
        """Raises InputError for an unknown name, and MissingError if another package's kind cannot be loaded."""
        self._search()
        if name in self._kinds:
            return self._kinds[name][1]
        if name in self._broken:
            raise MissingError(f"{self.what}: {name!r} cannot be loaded: {self._broken[name]}")
        similar = get_close_matches(name, self, n=1)
        hint = f"did you mean {similar[0]!r}? " if similar else ""
        raise InputError(f"{self.what}: there is no {reprlib.repr(name)}; {hint}there are {', '.join(self)}")

    def summaries(self) -> dict[str, str]:
        """One line about each kind: its `help`, or the first line of its docstring."""
        return {
            name: getattr(kind, "help", None) or (inspect.getdoc(kind) or "").partition("\n")[0]
            for name, kind in self.items()
        }

    def __iter__(self) -> Iterator[str]:
        self._search()
        listed = sorted((place, name) for name, (place, _) in self._kinds.items() if place is not None)
        return (name for _, name in listed)

    def items(self) -> list[tuple[str, Kind]]:
        return [(name, self[name]) for name in self]

    def __contains__(self, name: object) -> bool:
        self._search()
        return name in self._kinds

    def _search(self) -> None:
        here = get_ident()
        if self._searched or here in self._searching:  # a kind's module may use the registry while it is imported
            return
        self._searching.add(here)  # other threads wait for the same imports
        try:
            room = importlib.import_module(self.room)
            for module in pkgutil.iter_modules(getattr(room, "__path__", [])):
                if not module.ispkg:
                    importlib.import_module(f"{self.room}.{module.name}")
            for entry in entry_points(group=f"{GROUP}.{self.what}"):
                try:
                    entry.load()
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # another package may raise anything on import, SystemExit included
                    self._broken[entry.name] = f"{entry.value}: {type(error).__name__}: {error}"
            self._searched = True
        finally:
            self._searching.discard(here)


def code_digest(module: str) -> str:
    """A digest of an outside module's code and of what it imports from its own folder; no code is run."""
    sources: dict[str, str] = {}
    first, waiting = file_of(module), [module]
    while first and waiting:
        name = waiting.pop()
        file = None if name in sources else file_of(name)
        if file and _belongs(name, file, module, first):
            sources[name] = digest(file)
            waiting += _imports_of(name, file)
    return json_digest(sources, sort_keys=True) if len(sources) > 1 else "".join(sources.values())


def file_of(module: str) -> Path | None:
    """An outside module's file, found without importing anything."""
    package, *inner = module.split(".")
    try:
        spec = None if package in OWN else find_spec(package)
    except (ImportError, ValueError):  # it is no module's name, or a module without a file
        return None
    for name in inner:
        # The last part of the name is given, because a dotted name in a namespace is searched among imported modules
        # only.
        spec = spec and PathFinder.find_spec(name, list(spec.submodule_search_locations or []))
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def _belongs(name: str, file: Path, module: str, first: Path) -> bool:
    """Whether `name` is in `module`'s package, or in the same folder and not installed."""
    home = first.parents[module.count(".") + (first.name == "__init__.py")]
    return name.partition(".")[0] == module.partition(".")[0] or (file.is_relative_to(home) and not is_installed(file))


def is_installed(file: Path) -> bool:
    """Whether a file belongs to a library, Python or this project, whose versions identify their code."""
    known = (sysconfig.get_path("stdlib"), *(Path(__file__).parents[1] / name for name in OWN))
    return bool(INSTALLED & set(file.parts)) or any(map(file.is_relative_to, known))


def _imports_of(module: str, file: Path) -> Iterator[str]:
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    yield module.rpartition(".")[0] or module
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # it is no Python source
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
