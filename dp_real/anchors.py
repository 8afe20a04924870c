"""Paths in a configuration. A relative one is meant from where it stands: its file's folder, or the command line."""

from __future__ import annotations

import os
from os.path import expanduser
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

FOLDER = "folder"
"""The key of the validation context that has the folder from which relative paths are meant; none: they stay."""
HUB = "hub:"


class FromCommandLine(str):
    """A value that was given on the command line. A relative path is then meant from the current folder."""


def _anchor(value: str, info: ValidationInfo) -> Path | None:
    """The absolute path that is meant. None: the value is no relative path, or nobody says from where it is meant."""
    folder = Path.cwd() if isinstance(value, FromCommandLine) else (info.context or {}).get(FOLDER)
    if folder is None or not value or value.startswith(HUB) or os.path.isabs(value):
        return None
    return Path(os.path.normpath(Path(folder).absolute() / value))


def _anchored(value: Any, info: ValidationInfo) -> Any:
    """A place of data as an absolute path, unless it is on the hub."""
    if not isinstance(value, str):
        return value
    home = type(value)(expanduser(value))
    return str(_anchor(home, info) or home)


def _anchored_if_there(value: Any, info: ValidationInfo) -> Any:
    """A place of a model as an absolute path, if there is such a folder or file. Otherwise it is an id of the hub."""
    if not isinstance(value, str):
        return value
    home = type(value)(expanduser(value))
    path = _anchor(home, info)
    return str(path if path is not None and path.exists() else home)


Place = Annotated[str, BeforeValidator(_anchored)]
"""A folder or files, where ~ is the home folder, or what of the hub is meant."""
ModelPlace = Annotated[str, BeforeValidator(_anchored_if_there)]
"""A folder of a model, or its id on the hub."""
