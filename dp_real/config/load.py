import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dp_base.errors import InputError
from dp_base.reading import KEY, foreign_file, require_format, toml_value
from dp_real.config.config import FORMAT, Config
from dp_real.practice.section import validated
from dp_real.runtime.section import FromCommandLine


def load_config(
    path: str | Path,
    overrides: Iterable[str] = (),
    changes: Iterable[str] = (),
    *,
    anchor: bool = True,
    **values: Any,
) -> Config:
    """Read a TOML file, then apply `key=value` overrides (dotted keys, TOML values) and top-level values.

    `changes` are overrides by the program: they come first, and error messages omit them. Paths in the file are
    relative to its folder, those in overrides to the current one. With anchor=False the file's stay relative until a
    run records them, as a preset's are relative to the folder where it is used.

    Raises InputError, which names each problem, for an unreadable file, unknown keys, impossible values, and a
    top-level value that an override contradicts.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; dp real init NAME writes a configuration")
    with foreign_file(path, "cannot be read as text in UTF-8"):
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    with foreign_file(path, "not TOML", "a path with \\ stands in '…', not in \"…\"" if "\\" in text else ""):
        raw = tomllib.loads(text)
    overrides = list(overrides)
    for override in (*changes, *overrides):
        override_key(raw, override)
    for key, value in values.items():
        if key in map(key_of, overrides) and raw[key] != value:
            raise InputError(f"--{key} {value} and --set {key}={raw[key]}: leave one of them out")
    where = " ".join([str(path), *(f"--set {key_of(override)}=…" for override in overrides)])  # it may be a secret
    return parse_config({"name": path.stem} | raw | values, where, path.parent if anchor else None)


def parse_config(raw: Mapping[str, Any], where: str = "configuration", folder: Path | None = None) -> Config:
    """Validate `raw`, whose paths are relative to `folder`; None: they stay relative.

    One InputError lists every problem. A run's own file of another format number is refused.
    """
    if KEY in raw:
        require_format(raw, FORMAT, where)
    config = validated(Config, {key: value for key, value in raw.items() if key != KEY}, where, folder)
    return _quickened(config, where) if config.quick else config


def _quickened(config: Config, where: str) -> Config:
    raw, few = config.model_dump(), max(16, config.task.n_classes)
    limits = {
        "training": {"steps": 60, "batch_size": 16, "ema_decay": 0.9},
        "practice": {"initial": few, "real": few, "increment": 8, "additions": 1, "patience": 1, "evaluate_every": 6},
        "sampling": {"steps": 5},
    }
    for section, values in limits.items():
        raw[section] |= {key: min(raw[section][key], value) for key, value in values.items()}
    raw["guidance"]["window"] = (0.0, 1.0)
    if config.generator.trained_here:
        raw["generator"]["training"] = "none"
    return validated(Config, raw | {"name": f"{config.name.removesuffix('-quick')}-quick"}, where)


def key_of(override: str) -> str:
    """The key of `key=value`."""
    return override.partition("=")[0].strip()


def override_key(raw: dict[str, Any], override: str) -> None:
    """Set KEY=VALUE in `raw`. A value that is not TOML is a string."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        name_only = re.split(r"[^\w.-]", key)[0]  # what follows may be a secret
        raise InputError(f"--set {name_only}…: must read key=value, for example practice.patience=5")
    with foreign_file(f"--set {key}=…"):
        value = toml_value(text)
    set_key(raw, key, _from_command_line(value), f"--set {key}=…")


def _from_command_line(value: Any) -> Any:
    if isinstance(value, str):
        return FromCommandLine(value)
    if isinstance(value, list):
        return [_from_command_line(each) for each in value]
    if isinstance(value, dict):
        return {key: _from_command_line(each) for key, each in value.items()}
    return value


def set_key(raw: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set a dotted key in nested sections; `where` begins errors."""
    *path, last = key.split(".")
    for part in path:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            raise InputError(f"{where}: {part} is a value, not a section")
    raw[last] = value
