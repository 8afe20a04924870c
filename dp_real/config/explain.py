"""Turns pydantic's validation errors into messages in terms of the configuration file."""

import contextlib
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import SecretStr

from dp_base.errors import InputError
from dp_base.registry import Registry
from dp_real.config.config import Config
from dp_real.data import DATA
from dp_real.generators import GENERATORS
from dp_real.learners import LEARNERS
from dp_real.sections import MASK, Section

KINDS: dict[str, Registry[Any]] = {"data": DATA, "generator": GENERATORS, "learner": LEARNERS}


def explain(problem: Any) -> str:
    """A short message for one entry of ValidationError.errors(): the key, its value, and what would be right.

    Raises MissingError for a kind whose package cannot be loaded.
    """
    keys, section = _locate(problem["loc"])
    key = ".".join(keys)
    match problem["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(keys[-1], section.model_fields, n=1, cutoff=0.5)
            known = ", ".join(section.model_fields)
            hint = f"did you mean {'.'.join([*keys[:-1], near[0]])}?" if near else f"there are {known}"
            return f"unknown key {key}; {hint}"
        case "missing":
            return f"key {key} is missing"
        case "union_tag_not_found":
            return f"key {key}.{problem['ctx']['discriminator'].strip(chr(39))} is missing"
        case "union_tag_invalid":
            context = problem["ctx"]
            with contextlib.suppress(InputError):
                KINDS[key][context["tag"]]  # raises for a kind of another package that cannot be loaded
            name = context["discriminator"].strip("'")
            return f"{key}.{name} = {context['tag']!r}: should be one of {context['expected_tags']}"
    message = problem["msg"].removeprefix("Value error, ")
    field = section.model_fields.get(keys[-1]) if keys else None
    value = MASK if field and field.annotation is SecretStr else repr(problem["input"])
    shown = "" if isinstance(problem["input"], Mapping) else f" = {value}"
    where = f"{key}{shown}: " if key else ""
    return f"{where}{message[:1].lower()}{message[1:]}"


def _locate(loc: Iterable[str | int]) -> tuple[list[str], type[Section]]:
    """The key of a problem as the file spells it, and its section.

    For a section with several kinds, pydantic's location includes the kind's name, which is left out here.
    """
    keys: list[str] = []
    section = Config
    kinds = ()
    for part in loc:
        if kinds:
            section = next(kind for kind in kinds if part in _tags(kind))
            kinds = ()
            continue
        keys.append(str(part))
        field = section.model_fields.get(str(part))
        inner = get_args(field.annotation) or (field.annotation,) if field else ()
        sections = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, Section)]
        if len(sections) > 1:
            kinds = sections
        elif sections:
            section = sections[0]
    return keys, section


def _tags(section: type[Section]) -> tuple[Any, ...]:
    """The names of a kind: the values that its key `kind` or `source` may have."""
    fields = section.model_fields
    return tuple(tag for name in ("kind", "source") if name in fields for tag in get_args(fields[name].annotation))
