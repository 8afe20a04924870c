"""Packages that only some features need. Each belongs to an extra of this distribution, which messages name."""

from importlib.util import find_spec

from dp_base.errors import MissingError


def install_command(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'deliberate-practice[{extra}]'"


def require_package(package: str, extra: str, feature: str) -> None:
    """Raise MissingError, which names the extra, unless a package that a feature needs is installed."""
    if find_spec(package) is None:
        raise MissingError(f"{feature} needs {package}: {install_command(extra)}")
