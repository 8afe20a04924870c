"""Registries: the kinds of one thing that people add, by name.

A kind is a file. It registers what it defines, and everything that lists the kinds asks the registry: the schema of
configurations, the choices and help of commands, plans, documentation. A file of this project lies in the room of its
registry; a package of somebody else names its module as an entry point:

    [project.entry-points."deliberate_practice.generators"]
    mine = "my_package.my_generator"
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from dp_base.errors import InputError, MissingError

Kind = TypeVar("Kind")
Decorated = TypeVar("Decorated")
GROUP = "deliberate_practice"
LAST = 100  # the place of a kind that does not say its own


class Registry(Generic[Kind]):
    """The kinds of one thing. Nothing is imported before it is asked for.

    what: the plural of the thing, which is also the entry point group deliberate_practice.WHAT. room: the package whose
    modules register kinds when they are imported; its sub-packages are machinery, and not searched.
    """

    def __init__(self, what: str, room: str) -> None:
        self.what = what
        self.room = room
        self._kinds: dict[str, tuple[int, Kind]] = {}
        self._broken: dict[str, str] = {}  # entry points that cannot be loaded, and why
        self._searched = False

    def register(self, name: str, kind: Kind, *, place: int = LAST) -> Kind:
        """Add a kind; lists have it at its place, kinds of one place by name. Raises ValueError for a name in use."""
        if name in self._kinds and self._kinds[name][1] is not kind:
            raise ValueError(f"two of the {self.what} are called {name!r}")
        self._kinds[name] = (place, kind)
        return kind

    def named(self, name: str, *, place: int = LAST) -> Callable[[Decorated], Decorated]:
        """`register` as a decorator."""

        def decorate(kind: Decorated) -> Decorated:
            self.register(name, cast(Kind, kind), place=place)
            return kind

        return decorate

    def __getitem__(self, name: str) -> Kind:
        """The kind of that name. Raises InputError if there is none, MissingError if its package cannot be loaded."""
        self._search()
        if name in self._kinds:
            return self._kinds[name][1]
        if name in self._broken:
            raise MissingError(f"{self.what}: {name!r} cannot be loaded: {self._broken[name]}")
        near = get_close_matches(name, self.names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"{self.what}: there is no {name!r}; {hint}there are {', '.join(self.names())}")

    def names(self) -> list[str]:
        """All names, in the order of their places."""
        self._search()
        return sorted(self._kinds, key=lambda name: (self._kinds[name][0], name))

    def items(self) -> list[tuple[str, Kind]]:
        """Names and kinds, in that order."""
        return [(name, self._kinds[name][1]) for name in self.names()]

    def summaries(self) -> dict[str, str]:
        """A line about each kind: its `help`, or the first line of its docstring."""
        return {
            name: getattr(kind, "help", None) or (inspect.getdoc(kind) or "").partition("\n")[0]
            for name, kind in self.items()
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        self._search()
        return name in self._kinds

    def _search(self) -> None:
        if self._searched:
            return
        self._searched = True  # first: a kind's file may ask while it is imported
        room = importlib.import_module(self.room)
        for module in pkgutil.iter_modules(room.__path__):
            if not module.ispkg:
                importlib.import_module(f"{self.room}.{module.name}")
        for entry in entry_points(group=f"{GROUP}.{self.what}"):
            self._load(entry)

    def _load(self, entry: EntryPoint) -> None:
        """Somebody else's kind; one that fails is remembered, and stops nobody who does not ask for it."""
        try:
            entry.load()
        except Exception as error:  # whatever another package raises while it is imported
            self._broken[entry.name] = f"{entry.value}: {type(error).__name__}: {error}"
