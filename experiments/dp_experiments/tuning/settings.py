"""Settings of a configuration by dotted key: what a tuning chose, and how a configuration takes it. Needs no optuna."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dp_real.config import Config
from dp_real.config.load import parse_config, set_key

Settings = Mapping[str, Any]
"""Key of the configuration -> value."""


def with_settings(config: Config, settings: Settings, where: str = "configuration") -> Config:
    """The configuration with these values. Raises InputError, which begins with `where`, if it cannot have them."""
    raw = config.model_dump()
    for key, value in settings.items():
        set_key(raw, key, value, where)
    return parse_config(raw, where)


def flat(config: Config) -> dict[str, Any]:
    """All values of a configuration by dotted key, as JSON has them."""

    def leaves(value: Any, *path: str) -> Iterator[tuple[str, Any]]:
        if not isinstance(value, dict):
            yield ".".join(path), value
            return
        for key, inner in value.items():
            yield from leaves(inner, *path, key)

    return dict(leaves(config.model_dump(mode="json")))
