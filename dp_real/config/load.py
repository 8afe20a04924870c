"""TOML in, a Config out. Unknown keys and impossible values are InputErrors of one line."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dp_base.errors import InputError
from dp_real.config.config import Config
from dp_real.config.explain import explain


def load_config(path: str | Path, overrides: Iterable[str] = (), changes: Iterable[str] = (), **values: Any) -> Config:
    """Read a TOML file, then apply `key=value` overrides (dotted keys, TOML values) and top-level values.

    `changes` are overrides too, made first, and not by the user: complaints do not name them. Raises InputError for a
    file that cannot be read, unknown keys and impossible values, naming each.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    overrides = list(overrides)
    for override in (*changes, *overrides):
        override_key(raw, override)
    where = " ".join([str(path), *(f"--set {override}" for override in overrides)])
    return parse_config({"name": path.stem} | raw | values, where=where)


def parse_config(raw: Mapping[str, Any], where: str = "configuration") -> Config:
    """Validate; every problem becomes part of one InputError that names its key and what would be right."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{where}: " + "; ".join(explain(problem) for problem in error.errors())) from error


def override_key(raw: dict[str, Any], override: str) -> None:
    """Set the key of `key=value` in nested sections; the value is TOML, or a string if it is none.

    Raises InputError for what does not read so, or leads through a value.
    """
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise InputError(f"--set {override}: must read key=value, for example practice.patience=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *path, last = key.split(".")
    for part in path:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            raise InputError(f"--set {override}: {part} is a value, not a section")
    raw[last] = value
