"""Turns pydantic's validation errors into messages in terms of the configuration file."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from dp_base.registry import Registry
from dp_real.config.config import Config, KindError
from dp_real.data import DATA
from dp_real.generators import GENERATORS
from dp_real.learners import LEARNERS
from dp_real.sections import Section

KINDS: dict[str, Registry[Any]] = {"data": DATA, "generator": GENERATORS, "learner": LEARNERS}


def explain(problem: Any, raw: Mapping[str, Any]) -> str:
    """A short message for one entry of ValidationError.errors() of `raw`: the key, its value, what would be right."""
    keys, section = _locate(problem["loc"], raw)
    key = ".".join(keys)
    match problem["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(keys[-1], section.model_fields, n=1, cutoff=0.5)
            known = ", ".join(section.model_fields)
            hint = f"did you mean {'.'.join([*keys[:-1], near[0]])}?" if near else f"there are {known}"
            return f"unknown key {key}; {hint}"
        case "missing":
            return f"key {key} is missing"
        case "value_error" if isinstance(problem["ctx"]["error"], KindError):
            return str(problem["ctx"]["error"])
    message = problem["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(problem["input"], Mapping) else f" = {problem['input']!r}"
    where = f"{key}{shown}: " if key else ""
    return f"{where}{message[:1].lower()}{message[1:]}"


def _locate(loc: Iterable[str | int], raw: Mapping[str, Any]) -> tuple[list[str], type[Section]]:
    """The key of a problem as the file spells it, and its section, which for a section of several kinds `raw` tells."""
    keys = [str(part) for part in loc]
    section = Config
    for place, key in enumerate(keys):
        if place == 0 and key in KINDS:
            named = raw[key] if isinstance(raw.get(key), Mapping) else {}
            tag = str(named.get("source" if key == "data" else "kind"))
            section = KINDS[key][tag] if tag in KINDS[key] else Section  # noqa: SIM401 (a registry is no mapping)
        elif (field := section.model_fields.get(key)) and isinstance(field.annotation, type):
            section = field.annotation if issubclass(field.annotation, Section) else section
    return keys, section
