"""The presets that come with the package, and their variants."""

import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_experiments.presets.variants import variants

if TYPE_CHECKING:
    from dp_real.config import Config


def preset_names() -> list[str]:
    """The names of the presets that have a file."""
    names = (file.name for file in resources.files("dp_experiments.presets").iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def families() -> list[str]:
    """All names. The rows of a table are one entry, such as imagenet100-table4-1…18."""
    last: dict[str, str] = {}
    for name in variants():
        stem, _, number = re.fullmatch(r"(.+?)(-(\d+))?", name).groups()  # pyright: ignore[reportOptionalMemberAccess]
        last[stem] = f"-1…{number}" if number else ""
    return [*preset_names(), *sorted(stem + rows for stem, rows in last.items())]


def load_preset(name: str, settings: Iterable[str] = (), **values: Any) -> "Config":
    """A preset, a variant or a FILE.toml, with key=value overrides and top-level values.

    Raises InputError for an unknown name, and as load_config does.
    """
    from dp_base.errors import InputError
    from dp_real.config import load_config

    if name.endswith(".toml"):
        return load_config(Path(name), settings, **values)
    variant = variants().get(name)
    base = variant.base if variant else name
    if base not in preset_names():
        raise InputError(f"unknown preset {name!r}: one of {', '.join(families())}, or a FILE.toml")
    file = Path(str(resources.files("dp_experiments.presets") / f"{base}.toml"))
    changes = (*variant.settings, f"name={name}") if variant else ()
    return load_config(file, settings, changes, anchor=False, **values)
