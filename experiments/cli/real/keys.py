"""`dp real keys`: what can be set, and what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.cli.options import Json, Preset, Set
from experiments.presets.presets import load_preset
from experiments.terminal import emit_json, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_real.sections import Section

BOUNDS = {"minimum": "≥ {:g}", "exclusiveMinimum": "> {:g}", "maximum": "≤ {:g}", "exclusiveMaximum": "< {:g}"}
HUGE = 10**5  # nobody comes near larger bounds


def keys_command(
    preset: Preset,
    settings: Set = [],  # noqa: B006 (typer reads the default, nothing mutates it)
    as_json: Json = False,
) -> None:
    """Every key of a configuration: its value there, its default, what it may be, and what it means."""
    rows = list(keys(load_preset(preset, settings)))
    if as_json:
        emit_json({"preset": preset, "keys": rows})
        return
    table(rows)


def keys(section: Section, prefix: str = "") -> Iterator[dict[str, Any]]:
    """A row for each key of a section and of those within it."""
    from dp_real.sections import Section

    properties = type(section).model_json_schema()["properties"]
    for name, field in type(section).model_fields.items():
        value, schema = getattr(section, name), properties[name]
        if isinstance(value, Section):
            yield from keys(value, f"{prefix}{name}.")
            continue
        what: str = schema.get("description", "") if name not in ("kind", "source") else type(section).__doc__ or ""
        yield {
            "key": f"{prefix}{name}",
            "value": _written(value),
            "default": "required" if field.is_required() else _written(field.get_default(call_default_factory=True)),
            "may be": _may_be(schema),
            "meaning": what.splitlines()[0] if what else "",
        }


def _written(value: Any) -> str:
    """A value as TOML has it; none: not set."""
    import json

    if value is None:
        return "none"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _may_be(schema: dict[str, Any]) -> str:
    """What a JSON schema allows, in short."""
    if "anyOf" in schema:
        return " or ".join(_may_be(one) for one in schema["anyOf"])
    if choice := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return " | ".join(map(_written, choice))
    kind: str = schema.get("type", "")
    bounds = [text.format(schema[key]) for key, text in BOUNDS.items() if schema.get(key, HUGE) < HUGE]
    return " ".join([{"null": "none", "array": "list", "object": "table"}.get(kind, kind), ", ".join(bounds)]).strip()
