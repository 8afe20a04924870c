"""A digest of a Python object's code and values, by the bytes with which `datasets` identifies mapped functions."""

import inspect
import logging
import sys
from collections.abc import Iterator
from dis import Instruction, get_instructions
from functools import cache
from importlib.util import resolve_name
from io import BytesIO
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from datasets.fingerprint import Hasher
from datasets.utils._dill import Pickler
from torch import nn

from dp_base.registry import code_digest, file_of, is_installed
from dp_real.runtime.cache import fingerprints

log = logging.getLogger(__name__)
VALUELESS = sys.stdlib_module_names - {"builtins"}  # whose locks, files and the like hold no values of a user's
UNORDERED = "_use_default_values"  # a key of diffusers' configurations
OF_PYTHON = {"__dict__", "__weakref__", "__firstlineno__", "__static_attributes__"}  # in every class


def object_digest(thing: Any) -> str:
    """A digest: libraries' code by name, modules and pipelines by type and state_dict."""
    file = BytesIO()
    _Pickler(file, recurse=True).dump(thing)
    return Hasher.hash_bytes(file.getvalue())


class _Pickler(Pickler):
    def save(self, thing: Any, save_persistent_id: bool = True) -> None:
        try:
            super().save(thing, save_persistent_id)
        except Exception:  # it cannot be pickled, or has no values yet: its class stands for it
            if type(thing).__module__.split(".")[0] not in VALUELESS and not nn.parameter.is_lazy(thing):
                _remark(type(thing))
            super().save(type(thing).__qualname__)

    def reducer_override(self, thing: Any) -> Any:
        state = _state(thing)
        return NotImplemented if state is None else (dict, (), state)  # a state may refer to the object


@cache
def _remark(kind: type) -> None:
    log.warning("%s.%s cannot be pickled: a resume does not see whether it was changed", kind.__module__, kind.__name__)


def _state(thing: Any) -> Any:
    """What identifies an object; None: its pickled bytes."""
    if isinstance(thing, torch.Tensor):
        bits = thing.detach().cpu().to_dense().contiguous().flatten().view(torch.uint8)
        return [str(thing.dtype), list(thing.shape), *fingerprints(bits)]
    if isinstance(thing, frozenset):
        return sorted(thing, key=Hasher.hash)
    if isinstance(thing, ModuleType):
        return [thing.__name__, code_digest(thing.__name__) if _is_user_code(thing) else ""]
    if isinstance(thing, CodeType) and thing.co_linetable:
        return thing.replace(co_linetable=b"", co_firstlineno=1)
    if isinstance(thing, FunctionType | type) and _is_user_code(inspect.unwrap(thing)):
        return _code(thing)
    if isinstance(thing, nn.Module):
        return _network(thing)
    if isinstance(thing, dict) and UNORDERED in thing:
        return {key: value for key, value in thing.items() if key != UNORDERED}
    if settings := getattr(thing, "__dict__", {}).get("_internal_dict"):  # of diffusers
        return [type(thing), settings, getattr(thing, "components", None)]
    return None


def _code(thing: Any) -> list[Any]:
    """What identifies the user's functions and classes, with what they refer to."""
    if isinstance(thing, type):
        return [
            thing.__qualname__,
            thing.__bases__,
            {name: value for name, value in vars(thing).items() if name not in OF_PYTHON},
        ]
    steps, scope = [*_steps(thing.__code__)], thing.__globals__
    outside = {each.argval: scope[each.argval] for each in steps if "_GLOBAL" in each.opname and each.argval in scope}
    imported = {
        name: code_digest(name)
        for level, chosen, each in zip(steps, steps[1:], steps[2:], strict=False)
        if each.opname == "IMPORT_NAME"
        for module in [resolve_name("." * level.argval + each.argval, scope.get("__package__") or "")]
        for name in (module, *(f"{module}.{part}" for part in chosen.argval or ()))
        if (file := file_of(name)) and not is_installed(file)
    }
    own = [thing.__code__, outside, thing.__closure__, thing.__defaults__, thing.__kwdefaults__, vars(thing)]
    return [*own, imported] if imported else own


def _steps(code: CodeType) -> Iterator[Instruction]:
    """A function's instructions, and those of the functions in it."""
    yield from (each for each in get_instructions(code) if each.opname != "EXTENDED_ARG")
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _steps(inner)


def _network(thing: Any) -> list[Any]:
    thing = getattr(thing, "_orig_mod", thing)  # torch.compile's module
    values = dict(thing.named_buffers()) | dict(thing.state_dict())
    parts = [_settings(part) for part in thing.modules()]
    return [repr(thing), getattr(thing, "code", ""), getattr(thing, "config", None), parts, values]


OF_MODULES = vars(nn.Module()).keys()  # weights, hooks and the like


def _settings(part: nn.Module) -> dict[str, Any]:
    """A part's attributes besides its weights; of a library's, which may keep caches, only plain values."""
    own = {name: value for name, value in vars(part).items() if name not in OF_MODULES}
    if _is_user_code(type(part)):
        return own | {"class": type(part)}
    return {name: value for name, value in own.items() if isinstance(value, int | float | str | tuple)}


def _is_user_code(code: Any) -> bool:
    """Whether a function, a class or a module is the user's."""
    if getattr(code, "__module__", "") == "__main__":  # of which `python -m cProfile` and the like are the file
        return True
    try:
        return not is_installed(Path(inspect.getfile(code)))
    except OSError:  # code of a notebook
        return True
    except TypeError:  # part of Python itself
        return False
