"""The base of all configuration sections, and the types of their keys."""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from os.path import expanduser
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from dp_base.errors import Finding
from dp_base.registry import code_digest

FOLDER = "folder"
"""The validation context's key for the folder of relative paths; without it they stay relative."""
HUB = "hub:"


class FromCommandLine(str):
    """A value of the command line, where paths are relative to the current folder."""


def anchored(value: Any, info: ValidationInfo, only_if_there: bool = False) -> Any:
    """An absolute path for a relative one, if its folder is known; ~ is the home folder."""
    if not isinstance(value, str):
        return value
    if not value:
        raise ValueError("should name a place; leave the key out if there is none")
    home = type(value)(expanduser(value))
    folder = Path.cwd() if isinstance(value, FromCommandLine) else (info.context or {}).get(FOLDER)
    if folder is None or home.startswith(HUB) or os.path.isabs(home):
        return str(home)
    path = Path(os.path.normpath(Path(folder).absolute() / home))
    return str(path if path.exists() or not only_if_there else home)


Place = Annotated[str, BeforeValidator(anchored)]
"""A folder or files, where ~ is the home folder, or a place on the hub."""
ModelPlace = Annotated[str, BeforeValidator(partial(anchored, only_if_there=True))]
"""A folder of a model or, if there is no such folder, its id on the hub."""


class Section(BaseModel):
    """Base of all sections: frozen, without unknown keys, inf, nan, or true and false in place of a number.

    The value "none" means None for keys with this default, since TOML has no null.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _check_values(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        known = {key: (value, cls.model_fields[key]) for key, value in values.items() if key in cls.model_fields}
        for key, (value, field) in known.items():
            each = value if isinstance(value, list | tuple) else [value]
            types = _types(field.annotation)
            if bool in map(type, each) and types & {int, float} and bool not in types:
                raise ValueError(f"{key} = {str(value).lower()}: should be a number")
        absent = [key for key, (value, field) in known.items() if value == "none" and field.default is None]
        return {**values, **dict.fromkeys(absent)}

    def code_digest(self) -> str:
        """A digest of the code that this kind runs; empty for this project's."""
        return code_digest(type(self).__module__)


def _types(kind: Any) -> set[type]:
    """The types in an annotation, and those of its literals."""
    return {kind if isinstance(kind, type) else type(kind)}.union(*map(_types, get_args(kind)))


class PartConfig(Section):
    """Base of sections that may load weights."""

    def weights(self) -> dict[str, str]:
        """Folders or hub ids by configuration key."""
        return {}

    def weights_digests(self) -> dict[str, str]:
        """Digests of the weights; empty for missing ones."""
        from dp_real.runtime.model_folders import weights_digest

        return {key: weights_digest(model) for key, model in self.weights().items()}

    def requirements(self) -> list[Finding]:
        """Required packages and keys, and `weights` that are neither a folder nor a hub id."""
        return []


Count = Annotated[int, Field(gt=0, le=10**9)]
"""A number of steps or examples."""
CountOrZero = Annotated[int, Field(ge=0, le=10**9)]
"""Such a number, or 0."""
Rows = Annotated[int, Field(gt=0, le=10**6)]
"""Rows that are held in memory together."""
Width = Annotated[int, Field(gt=0, le=2**14)]
"""A width of a network, or pixels a side."""
Share = Annotated[float, Field(ge=0, lt=1)]
"""A share, but never all."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A seed, up to TOML's largest integer."""


PLACEHOLDERS = ("{}", "{definition}", "{synonyms}")
"""Placeholders for the class in a prompt."""


def not_empty(templates: tuple[str, ...]) -> tuple[str, ...]:
    """Require at least one prompt."""
    if not templates:
        raise ValueError("should have at least one prompt")
    return templates


def template(*further: str) -> Callable[[str], str]:
    """A check that a prompt has a placeholder for the class, and no unknown one but `further`."""

    def checked(prompt: str) -> str:
        if not any(place in prompt for place in PLACEHOLDERS):
            raise ValueError("should have {} where the class's name goes, or all classes would have the same prompt")
        known = (*PLACEHOLDERS, *further)
        for place in re.findall(r"\{\w+\}", prompt):
            if place not in known:
                raise ValueError(f"{place} is no placeholder: {', '.join(known[:-1])} and {known[-1]} are")
        return prompt

    return checked


Templates = Annotated[tuple[Annotated[str, AfterValidator(template())], ...], AfterValidator(not_empty)]
"""Prompts with {}, {definition} or {synonyms} in place of the class."""
