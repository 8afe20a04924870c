"""Names that are imported on first use, and packages that only some features need, each in an extra."""

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_base.errors import MissingError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "deliberate-practice"


def lazy_names(package: str, stub: Path) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package, from its `__init__.pyi`: `from home import name as name`."""
    homes = {
        alias.name: statement.module or package
        for statement in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }

    def get(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return import_module(f"{package}.{name}") if home == package else getattr(import_module(home), name)

    names = sorted(homes)
    return get, lambda: names, names


def install_command(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def requirements(extra: str = "") -> "list[Requirement]":
    """The packages that an extra adds, or without a name the required ones. An uninstalled checkout has none."""
    from importlib import metadata  # here and below: every package imports this module, and few calls need it

    from packaging.requirements import Requirement

    try:
        lines = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        return []

    def applies(line: "Requirement", extra: str) -> bool:
        return line.marker is None or line.marker.evaluate({"extra": extra})

    return [line for line in lines if applies(line, extra) and not (extra and applies(line, ""))]


def version_of(name: str) -> str | None:
    """The version of an installed distribution."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def lacking(extra: str = "") -> list[str]:
    """Distributions of `requirements` that are not installed, or too old, with the versions that are needed.

    A pre-release counts as its release, since vendors number their builds like 2.6.0a0+nv25.01.
    """
    from packaging.version import Version

    versions = [(line, version_of(line.name)) for line in requirements(extra)]
    return [
        f"{line.name}{line.specifier}"
        for line, version in versions
        if version is None or not line.specifier.contains(Version(version).base_version)
    ]


def extra_problem(extra: str, feature: str) -> str | None:
    """What is not installed of an extra, or too old, and how to get it."""
    first, *others = lacking(extra) or [""]
    more = f" and {len(others)} more" if others else ""
    return f"{feature} needs {first}{more}: {install_command(extra)}" if first else None


def require_extra(extra: str, feature: str) -> None:
    """Raise MissingError unless all of an extra is installed, and new enough."""
    if problem := extra_problem(extra, feature):
        raise MissingError(problem)


@contextmanager
def needing(extra: str, feature: str) -> Iterator[None]:
    """Raise MissingError for a package that the block could not import."""
    try:
        yield
    except ImportError:
        require_extra(extra, feature)
        raise
