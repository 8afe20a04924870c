"""Checks the shapes in annotations (jaxtyping) whenever a test calls a function.

conftest.py calls `check_shapes_of` before anything else is imported. Functions, methods and dataclasses that name a
shape are then checked, and no others: the type checker answers for these, and checks cost time.

jaxtyping takes about as long to import as numpy. Modules that quick commands need therefore import it for the type
checker only, or take its names from dp_theory.numerics.checks. In tests both are its own names.
"""

import re
from dataclasses import fields, is_dataclass
from functools import wraps
from importlib.machinery import SourceFileLoader
from types import FunctionType

import jaxtyping
from beartype import BeartypeConf, beartype

from dp_theory.numerics import checks

PACKAGES = (  # the public faces, and the rooms whose arrays others handle
    "dp_theory.api",
    "dp_theory.budgets",
    "dp_theory.fitting",
    "dp_theory.multiclass",
    "dp_theory.noise",
    "dp_theory.ridge",
    "dp_theory.rules",
    "dp_theory.selection",
    "dp_theory.loop",
    "dp_theory.validity",
    "dp_real.protocols",
    "dp_real.guidance.entropy",
    "dp_real.generators",
    "dp_real.learners",
    "dp_real.pool",
)
NAMES = ("Bool", "Float", "Inexact", "Int", "Num", "Shaped")
SHAPED = re.compile(r"\b(Bool|Float\d*|Inexact|Int\d*|Integer|Num|Real|Shaped|UInt\d*)\[|jaxtyping")
CHECKED_CALLS = 200
CONFIGURATION = BeartypeConf(is_pep484_tower=True)  # an int is taken where a float is asked for


def check_shapes_of(packages):
    """From now on, check the shapes in the modules of these packages, as they are imported."""
    _name_shapes(checks)
    load = SourceFileLoader.exec_module

    def load_and_check(loader, module):
        load(loader, module)
        if any(f"{module.__name__}.".startswith(f"{package}.") for package in packages):
            _check_module(module)

    SourceFileLoader.exec_module = load_and_check


def _check_module(module):
    """Check the functions and classes that a module defines."""
    _name_shapes(module)
    for name, thing in list(vars(module).items()):
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        if isinstance(thing, FunctionType) and _names_a_shape(thing):
            setattr(module, name, _checked(thing))
        elif isinstance(thing, type):
            _check_class(thing)


def _name_shapes(module):
    vars(module).update({name: getattr(jaxtyping, name) for name in NAMES})


def _check_class(cls):
    """Check the methods of a class that name a shape, and what a dataclass is made of if its fields do."""
    for name, method in list(vars(cls).items()):
        function = method.fget if isinstance(method, property) else getattr(method, "__func__", method)
        if isinstance(function, FunctionType) and name not in ("__init__", "__new__") and _names_a_shape(function):
            setattr(cls, name, _checked(method))
    if is_dataclass(cls) and any(_is_shape(field.type) for field in fields(cls)):
        _checked(cls)


def _checked(thing):
    checked = jaxtyping.jaxtyped(thing, typechecker=check_shapes)
    return _at_first(checked, thing) if isinstance(thing, FunctionType) else checked


def _at_first(checked, plain):
    """The function, whose first CHECKED_CALLS calls in a process are checked: some are called ten thousand times."""
    left = CHECKED_CALLS

    @wraps(plain)
    def function(*arguments, **named):
        nonlocal left
        left -= 1
        return (checked if left >= 0 else plain)(*arguments, **named)

    vars(function)["checked"] = checked
    return function


def check_shapes(function):
    """The function, with those of its annotations checked that name a shape."""
    function.__annotations__ = {
        name: annotation for name, annotation in function.__annotations__.items() if _is_shape(annotation)
    }
    return beartype(conf=CONFIGURATION)(function)


def _names_a_shape(function):
    return any(_is_shape(annotation) for annotation in function.__annotations__.values())


def _is_shape(annotation):
    return bool(SHAPED.search(str(annotation)))
