"""A figure that somebody asks for, with values of its parameters: `compute`'s named arguments with a default.

One called `run` is the folder of a run that takes the place of ours.
"""

import inspect
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dp_base.errors import InputError
from dp_base.files import file_name
from dp_base.reading import toml_value

RUN = "run"


class FigureSpec(NamedTuple):
    """The name of a figure, and those of its parameters that were given."""

    name: str
    settings: Mapping[str, Any]

    @property
    def stem(self) -> str:
        shown = {key: value.name if isinstance(value, Path) else value for key, value in self.settings.items()}
        return file_name("@".join([self.name, *(f"{key}={value}" for key, value in shown.items())]))

    @property
    def command(self) -> str:
        words = ["dp", "figures", self.name]
        for key, value in self.settings.items():
            words += ["--run", str(value)] if key == RUN else ["--set", f"{key}={value}"]
        return shlex.join(words)


def read_settings(name: str, compute: Callable[..., Any], texts: Sequence[str], runs: Sequence[Path]) -> FigureSpec:
    """The parameters KEY=VALUE and folders of runs that a person gives a figure."""
    usual = {
        key: parameter.default
        for key, parameter in inspect.signature(compute).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    if runs and RUN not in usual:
        raise InputError(f"figure {name} is not drawn from a run; dp figures --list says which are")
    if len(runs) > 1:
        raise InputError(f"figure {name} is drawn from one run: give --run once")
    usual.pop(RUN, None)
    has = ", ".join(f"{key} ({value:g})" for key, value in usual.items())
    settings: dict[str, Any] = {RUN: runs[0].resolve()} if runs else {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise InputError(f"--set {text}: must read KEY=VALUE, for example rho=0.6")
        if key not in usual:
            raise InputError(
                f"--set {text}: figure {name} has no parameter {key!r}; "
                + (f"it has {has}" if has else "it has none, and dp figures --list says which have")
            )
        if key in settings:
            raise InputError(f"--set {text}: {key} is given twice")
        settings[key] = _number(text, toml_value(value), usual[key])
    return FigureSpec(name, settings)


def _number(text: str, value: Any, usual: float) -> float:
    wanted = "a whole number above 0" if isinstance(usual, int) else "a number"
    right = int if isinstance(usual, int) else (int, float)
    unusable = isinstance(value, bool) or not isinstance(value, right) or not math.isfinite(value)
    if unusable or (isinstance(usual, int) and value < 1):
        raise InputError(f"--set {text}: must be {wanted}, such as {usual:g}")
    return type(usual)(value)
