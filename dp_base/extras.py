"""Packages that only some features need, each in an extra of this distribution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dp_base.errors import MissingError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "deliberate-practice"


def install_command(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def require_package(package: str, extra: str, feature: str) -> None:
    """Raise MissingError, which names the extra, unless the package is installed."""
    if find_spec(package) is None:
        raise MissingError(f"{feature} needs {package}: {install_command(extra)}")


def requirements(extra: str = "") -> list[Requirement]:
    """What an extra adds to what is always installed; without a name, the latter. A mere checkout knows neither."""
    from packaging.requirements import Requirement

    try:
        lines = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        return []
    always = [line for line in lines if line.marker is None or line.marker.evaluate({"extra": ""})]
    if not extra:
        return always
    return [line for line in lines if line not in always and line.marker and line.marker.evaluate({"extra": extra})]


def version_of(name: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def lacking(extra: str) -> list[str]:
    """Distributions of an extra that are not installed."""
    return [line.name for line in requirements(extra) if version_of(line.name) is None]


def require_extra(extra: str, feature: str) -> None:
    """Raise MissingError unless all of an extra is installed."""
    first, *others = lacking(extra) or [""]
    if first:
        more = f" and {len(others)} more packages" if others else ""
        raise MissingError(f"{feature} needs {first}{more}: {install_command(extra)}")


@contextmanager
def needing(extra: str, feature: str) -> Iterator[None]:
    """Raise MissingError for a package that the block could not import."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and find_spec(error.name.partition(".")[0]) is None:
            require_extra(extra, feature)
        raise
