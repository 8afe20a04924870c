"""Checks the shapes in annotations (jaxtyping) whenever a test calls a public function.

conftest.py installs this as an import hook. Only the annotations that name a shape are checked: the type checker
answers for the others, and many of them are imported for it alone.

jaxtyping takes as long to import as numpy. Modules that quick commands need therefore import it for the type checker
only. Here its names are made built-in, so that the annotations of these modules have a meaning in tests.
"""

import builtins
import re
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

PACKAGES = (  # the public faces, and the rooms whose arrays others handle
    "dp_theory.api",
    "dp_theory.budgets",
    "dp_theory.practice",
    "dp_theory.ridge",
    "dp_theory.rules",
    "dp_theory.selection",
    "dp_theory.span",
    "dp_real.protocols",
    "dp_real.guidance",
    "dp_real.generators",
    "dp_real.learners",
)
NAMES = ("Bool", "Float", "Int", "Num", "Real", "Shaped")
SHAPED = re.compile(r"\b(Bool|Float\d*|Inexact|Int\d*|Integer|Num|Real|Shaped|UInt\d*)\[|jaxtyping")
CONFIGURATION = BeartypeConf(is_pep484_tower=True)  # an int is taken where a float is asked for

for name in NAMES:
    setattr(builtins, name, getattr(jaxtyping, name))


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with those of its annotations checked that name a shape; a class as it is."""
    if isinstance(function, type):
        return function
    shaped = {
        name: annotation
        for name, annotation in function.__annotations__.items()
        if SHAPED.search(annotation if isinstance(annotation, str) else repr(annotation))
    }
    if not shaped:
        return function
    function.__annotations__ = shaped
    return beartype(function, conf=CONFIGURATION)
