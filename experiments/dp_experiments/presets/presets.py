"""The presets that come with the package, and their variants."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_base.errors import InputError
from dp_experiments.presets.variants import variants

if TYPE_CHECKING:
    from dp_real.config import Config

LINE = r"^(?:\[(.+)\]|([\w-]+) *=(?:.*# (ours|inferred|earlier code)\b)?)"
"""A section or a key of a preset, and the mark of its value."""
STUDIES = Path(__file__).parents[1] / "studies"


def preset_files() -> dict[str, Path]:
    """The file of each preset, which lies in the folder of its study."""
    return {file.stem: file for file in sorted(STUDIES.glob("*/*.toml"), key=lambda file: file.stem)}


def preset_names() -> list[str]:
    """The names of the presets that have a file."""
    return list(preset_files())


def sources(name: str, settings: Iterable[str]) -> dict[str, str]:
    """Where the values are from that a preset, a variant, a file and --set give."""
    from dp_real.config.load import key_of

    variant, own = variants().get(name), name.endswith(".toml")
    file = Path(name) if own else preset_files()[variant.base if variant else name]
    text = file.read_text(encoding="utf-8-sig")
    usual = "yours" if own else "paper" if "Values are the paper's" in text else "ours"
    origins, section = {}, ""
    for head, key, mark in re.findall(LINE, text, re.MULTILINE):
        section = head or section
        origins[f"{section}.{key}".strip(".")] = mark or usual
    if variant:
        for key in map(key_of, variant.settings):
            is_read = origins.get(key) == "inferred" or key in variant.inferred
            origins[key] = "ours" if variant.reported is None else "inferred" if is_read else "paper"
    return origins | dict.fromkeys(map(key_of, settings), "yours")


def set_options(settings: Iterable[str]) -> list[str]:
    """The words --set key=value of a command."""
    return [word for setting in settings for word in ("--set", setting)]


def load_preset(name: str, settings: Iterable[str] = (), **values: Any) -> "Config":
    """A preset, a variant or a FILE.toml, with key=value overrides and top-level values."""
    from dp_real.config import load_config

    if name.endswith(".toml"):
        return load_config(Path(name), settings, **values)
    variant = variants().get(name)
    base = variant.base if variant else name
    if base not in preset_files():
        hint = f"it must be {', '.join(preset_names())}, a row of the paper's tables (dp real keys), or a FILE.toml"
        if Path(f"{name}.toml").exists():
            hint = f"did you mean {name}.toml?"
        raise InputError(f"unknown preset {name!r}: {hint}")
    changes = (*variant.settings, f"name={name}") if variant else ()
    return load_config(preset_files()[base], settings, changes, anchor=False, **values)
