"""Python objects given to `dp_real.run`, by a digest of their code and values: an edited one is another run."""

import inspect
import re
import sys
import sysconfig
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from dis import get_instructions
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dp_base.checksums import json_digest
from dp_base.errors import InputError, MissingError
from dp_base.progress import Progress, silent
from dp_base.registry import code_digest
from dp_real.data import DATA, DataConfig
from dp_real.examples import Examples, RealData, Task, as_numbers
from dp_real.generators import GENERATORS, GeneratorConfig
from dp_real.learners import LEARNERS, LearnerConfig
from dp_real.sections import SamplingConfig, Seed, TrainingConfig

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from dp_real.guidance import EntropyGuidance
    from dp_real.protocols import Generator, Labels, Learner, Seeds

GIVEN = "given"
SETS = {"validation", "test", "train"}
MADE_HERE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: of a class that Python code defines
PLAIN = bool | int | float | complex | str | bytes | None
UNORDERED = "_use_default_values"  # a key of diffusers' configurations
GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
OF_CLASSES = ("__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__")
INSTALLED = re.compile(rf".*/(site|dist)-packages/|{sysconfig.get_path('stdlib')}/|{Path(__file__).parent}/")
_objects: dict[str, Any] = {}  # by their digests

Digest = Field(description="of the Python object's code and values; dp_real.run writes it")


def give(thing: Any) -> str:
    """Keep an object, so that a configuration with its digest finds it. Returns the digest."""
    key = digest(thing)
    _objects[key] = thing
    return key


def taken(key: str, argument: str) -> Any:
    """The object of a digest; MissingError if this process was not given it."""
    if key not in _objects:
        raise MissingError(lacking(argument))
    return _objects[key]


def lacking(argument: str) -> str:
    """The message about an object that is not here."""
    return (
        f"{argument}: this run was given a Python object, which is not here, or was edited: call "
        f"dp_real.run(config, folder, resume=True, {argument}=…), or dp_real.give(…) to read the run"
    )


def digest(thing: Any) -> str:
    """Of an object's source and values, and of what these refer to."""
    return _told(thing, {})[:16]


def _told(thing: Any, seen: dict[int, list[Any]]) -> str:
    """A plain value, or a digest. `seen` keeps objects, so that no other gets their ids."""
    if isinstance(thing, PLAIN):
        return repr(thing)
    if id(thing) not in seen:
        seen[id(thing)] = [thing, "above"]
        seen[id(thing)][1] = json_digest(_known(thing, seen))
    return seen[id(thing)][1]


def _known(thing: Any, seen: dict[int, list[Any]]) -> Any:
    from torch import Tensor, jit, nn

    if isinstance(thing, Tensor) or hasattr(type(thing), "__array__"):
        return _numbers(thing, seen)
    if isinstance(thing, Mapping):
        return sorted((_told(key, seen), _told(value, seen)) for key, value in thing.items() if key != UNORDERED)
    if isinstance(thing, tuple | list):
        return [type(thing).__name__, *(_told(value, seen) for value in thing)]
    if isinstance(thing, set | frozenset):
        return sorted(_told(value, seen) for value in thing)
    if isinstance(thing, jit.ScriptFunction):
        return thing.code
    if isinstance(thing, nn.Module):
        thing = getattr(thing, "_orig_mod", thing)  # of torch.compile
        of_all = vars(nn.Module()).keys()
        parts = [*thing.modules()]
        own = [{name: value for name, value in vars(part).items() if name not in of_all} for part in parts]
        code = [type(part) for part in parts], getattr(thing, "code", "")
        return [repr(thing), _told([code, own, dict(thing.named_buffers()), thing.state_dict()], seen)]
    if isinstance(thing, ModuleType):
        return thing.__name__ if _is_installed(thing) else code_digest(thing.__name__)
    if isinstance(thing, FunctionType | type | BuiltinFunctionType):
        return _code(thing, seen)
    return [_told(part, seen) for part in _parts(thing)]


def _numbers(thing: Any, seen: dict[int, list[Any]]) -> list[Any]:
    import numpy as np
    import torch

    from dp_real.runtime.cache import fingerprints

    if isinstance(thing, torch.Tensor):
        with suppress(RuntimeError, TypeError, NotImplementedError, ValueError):  # it has no values yet
            bits = thing.detach().cpu().contiguous().flatten().view(torch.uint8)
            return [str(thing.dtype), list(thing.shape), *fingerprints(bits)]
        return [str(thing.dtype)]
    given = np.asarray(thing)
    about = [str(given.dtype), list(given.shape)]
    if given.dtype == object:
        return [*about, _told(given.tolist(), seen)]
    return about + fingerprints(given.reshape(-1).view("u1"))


def _code(thing: Any, seen: dict[int, list[Any]]) -> Any:
    """Of a library's by its name."""
    if isinstance(thing, type) and not _is_installed(thing):
        own = [kind for kind in thing.__mro__ if not _is_installed(kind)]
        values = [{name: each for name, each in vars(kind).items() if name not in OF_CLASSES} for kind in own]
        return [thing.__qualname__, _told(values, seen)]
    if not isinstance(thing, FunctionType):
        return thing.__qualname__
    if _is_installed(thing):
        return [thing.__qualname__, _told(vars(thing).get("__wrapped__", _enclosed(thing)), seen)]
    found = thing.__globals__
    outside = {name: found[name] for name in _names(thing.__code__) & found.keys()}
    refers = [outside, _enclosed(thing), thing.__defaults__, thing.__kwdefaults__, vars(thing)]
    return [_source(thing), _told(refers, seen)]


def _parts(thing: Any) -> list[Any]:
    if isinstance(thing, RealData | Examples | Task):
        return [vars(thing)]
    if isinstance(thing, partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, MethodType):
        return [thing.__func__, thing.__self__]
    if isinstance(thing, property):
        return [thing.fget, thing.fset]
    if isinstance(thing, staticmethod | classmethod):
        return [thing.__func__]
    kind = type(thing)
    if not _is_installed(kind):
        with suppress(TypeError):  # it is made in C, too
            return [kind, object.__getstate__(thing)]  # pyrefly: ignore[missing-attribute]
    own = vars(thing) if hasattr(thing, "__dict__") else {}
    if settings := own.get("_internal_dict"):  # of diffusers, which changes other attributes in use
        return [kind, settings, {name: value for name, value in own.items() if hasattr(type(value), "config")}]
    values = {name: value for name, value in own.items() if hasattr(type(value), "__array__") or callable(value)}
    return [kind, re.sub(r"0x[0-9a-fA-F]+|id='\d+'", "", repr(thing)), values]


def _enclosed(function: FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it is empty as yet
            found[name] = cell.cell_contents
    return found


def _is_installed(code: Any) -> bool:
    """Whether a function, a class or a module is not the user's."""
    if isinstance(code, FunctionType):
        return bool(INSTALLED.match(code.__code__.co_filename))
    is_class = isinstance(code, type)
    file = getattr(sys.modules.get(code.__module__) if is_class else code, "__file__", None) or ""
    is_built_in = not code.__flags__ & MADE_HERE if is_class else not file
    return is_built_in or bool(INSTALLED.match(file))


def _names(code: CodeType) -> set[str]:
    inner = [_names(each) for each in code.co_consts if isinstance(each, CodeType)]
    return {each.argval for each in get_instructions(code) if each.opname in GLOBAL}.union(*inner)


def _source(function: FunctionType) -> Any:
    try:
        source = inspect.getsource(function.__code__)  # a function's own would be that of what it wraps
        if function.__name__ != "<lambda>":  # of which a line may hold several
            return source
    except OSError:  # of Python's own prompt
        source = ""
    return [source, _compiled(function.__code__)]


def _compiled(code: CodeType) -> list[Any]:
    constants = [_compiled(each) if isinstance(each, CodeType) else _told(each, {}) for each in code.co_consts]
    return [code.co_code.hex(), code.co_names, constants]


def with_objects(
    raw: Mapping[str, Any], *, learner: Any = None, generator: Any = None, data: Any = None, objective: Any = None
) -> dict[str, Any]:
    """A raw configuration with the kind `given` for each object."""
    from dp_real.guidance import OBJECTIVES

    changed = {**raw}
    if learner is not None:
        changed["learner"] = {"kind": GIVEN, "digest": give(learner)}
    if generator is not None:
        changed["generator"] = {"kind": GIVEN, "digest": give(generator), "guided": hasattr(generator, "sample")}
    if data is not None:
        facts = real_data(data)
        changed["data"] = {
            "source": GIVEN,
            "digest": give(data),
            "trains": facts.generator is not None,
            "shape": facts.task.sample_shape,
            "classes": facts.task.classes,
        }
    if objective is not None:
        if not callable(objective):
            raise InputError(f"objective = {objective!r}: should be a function; a name is for guidance.objective")
        name = f"{GIVEN} {give(objective)}"
        OBJECTIVES.register(name, objective, place=None)
        changed["guidance"] = {**raw.get("guidance", {}), "objective": name}
    return changed


def real_data(thing: Any) -> RealData:
    """RealData, also from {"validation": (x, y), "test": (x, y), "train": (x, y)}.

    x: float32 [n, *sample_shape], images in [-1, 1]. y: int64 [n]. Without a test set, validation is the test.
    """

    if isinstance(thing, RealData):
        return _checked(thing)
    try:
        given = {name: (x, y) for name, (x, y) in thing.items()}
        shape = tuple(given["validation"][0].shape[1:])
    except (AttributeError, KeyError, TypeError, ValueError):
        right = "RealData, or {'validation': (x, y), 'test': (x, y), 'train': (x, y)}"
        raise InputError(f"data is of type {type(thing).__name__}: should be {right}") from None
    sets = {name: _examples(f"data: {name}", x, y, shape) for name, (x, y) in given.items()}
    if unknown := sorted(sets.keys() - SETS):
        raise InputError(f"data has a set {unknown[0]!r}: should be validation, test or train")
    validation, count = sets["validation"], 1 + max(int(each.y.max()) for each in sets.values())
    there = set(validation.y.tolist())
    if len(there) < count:
        missing = next(label for label in range(count) if label not in there)
        raise InputError(f"data: validation has no example of class {missing}, and labels are 0 to {count - 1}")
    task = Task(shape, tuple(map(str, range(count))))
    return RealData(task, sets.get("train"), validation, sets.get("test", validation))


def _checked(data: RealData) -> RealData:
    import torch

    def checked(name: str, each: Any) -> Any:
        is_coded = isinstance(each, Examples) and isinstance(each.x, torch.Tensor) and not each.x.is_floating_point()
        if is_coded or not isinstance(each, Examples):
            return each
        found = _examples(f"data: {name}", each.x, each.y, data.task.sample_shape)
        if (most := int(found.y.max())) >= (count := data.task.n_classes):
            raise InputError(f"data: {name} has a label {most}, and there are {count} classes: should be below")
        return found

    sets = {name: checked(name, each) for name, each in data.sets.items()}
    named = {name: checked(name, getattr(data, name)) for name in ("generator", "validation", "test")}
    return replace(data, sets=sets, **named)


def _examples(name: str, x: Any, y: Any, shape: tuple[int, ...]) -> Examples:
    import numpy as np
    import torch

    if isinstance(y, np.ndarray):
        y = np.ascontiguousarray(y)  # torch takes no reversed ones
    try:
        y = torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} has labels of type {type(y).__name__}: should be whole numbers from 0, [n]") from None
    if y.dim() != 1 or y.is_floating_point() or not len(y) or y.long().min() < 0:
        raise InputError(f"{name} has labels {y.dtype} {list(y.shape)}: should be whole numbers from 0, [n]")
    x = as_numbers(x, (len(y), *shape), name)
    if not x.isfinite().all():
        raise InputError(f"{name} has numbers that are not finite")
    return Examples(x, y.long())


@DATA.named(GIVEN, place=None)
class GivenData(DataConfig):
    """Tensors of yours, given to dp_real.run."""

    source: Literal["given"]
    digest: str = Digest
    shape: tuple[int, ...] = Field(description="of an example")
    classes: tuple[str, ...] = Field(description="their names")
    trains: bool = Field(default=False, description="whether there are training examples")
    split: Seed = Field(default=0, description="not used: the sets are given")

    @property
    def task(self) -> Task:
        return Task(self.shape, self.classes)

    @property
    def has_training_examples(self) -> bool:
        return self.trains

    def load(self) -> RealData:
        return real_data(taken(self.digest, "data"))


@LEARNERS.named(GIVEN, place=None)
class GivenLearner(LearnerConfig):
    """A torch module of yours, or a function of the task that makes one, given to dp_real.run."""

    kind: Literal["given"]
    digest: str = Digest

    def fresh(self, task: Task, training: TrainingConfig, seed: int) -> "Learner":
        import torch
        from torch import nn

        from dp_real.learners.models.network import NetworkLearner

        thing = taken(self.digest, "learner")

        def build(task: Task) -> nn.Module:
            is_function = callable(thing) and not isinstance(thing, nn.Module)
            module = thing(task) if is_function else deepcopy(thing)
            if not isinstance(module, nn.Module) or not any(weight.requires_grad for weight in module.parameters()):
                right = "a torch module with weights to train, or a function of the task that makes one"
                raise InputError(
                    f"learner {'gave' if is_function else 'is'} a {type(module).__name__}: should be {right}"
                )
            return module

        learner = NetworkLearner.fresh(build, task, training, seed)
        asked, right = (2, *task.sample_shape), [2, task.n_classes]
        failed = None
        for dtype in (torch.float32, torch.int32):  # of numbers, and of the codes of texts
            try:
                with torch.no_grad():
                    gave = list(learner.logits(torch.zeros(asked, dtype=dtype)).shape)
                break
            except Exception as error:  # of a module of anybody's
                failed = failed or error
        else:
            raise InputError(f"learner cannot read samples {list(asked)}: {failed}") from failed
        if gave != right:
            raise InputError(f"learner gives {gave} for samples {list(asked)}: should be logits {right}")
        return learner


@GENERATORS.named(GIVEN, place=None)
class GivenGenerator(GeneratorConfig):
    """A function (labels, generator) -> images of yours, or a Generator, given to dp_real.run."""

    examples: ClassVar[str | None] = None

    kind: Literal["given"]
    digest: str = Digest
    guided: bool = Field(default=False, description="whether it is a dp_real.protocols.Generator, which takes guidance")

    @property
    def has_denoiser(self) -> bool:
        return self.guided

    @property
    def remedy(self) -> str:
        return "mend the generator that was given"

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> "Generator":
        from dp_real.generators.function import FunctionGenerator

        thing = taken(self.digest, "generator")
        if isinstance(thing, type):
            raise InputError(f"the generator is the class {thing.__name__}: give an instance of it")
        if self.guided:
            return Checked(thing, source)
        return FunctionGenerator(_row_by_row(thing), "the generator", source)


class Checked:
    """A Generator of anybody's, whose samples are looked at."""

    def __init__(self, generator: "Generator", source: DataConfig) -> None:
        self.generator, self.source = generator, source
        self.sample_shape, self.n_classes = source.task.sample_shape, source.task.n_classes

    def offload(self) -> None:
        if hasattr(self.generator, "offload"):
            self.generator.offload()

    def sample(self, labels: "Labels", seeds: "Seeds", guidance: "EntropyGuidance | None") -> "Tensor":
        return self.source.as_samples(self.generator.sample(labels, seeds, guidance), len(labels), "the generator")


def _row_by_row(function: "Callable[..., Any]") -> "Callable[[np.ndarray, np.ndarray], Any]":
    """So that runs repeat."""
    import torch

    def draw(labels: "np.ndarray", seeds: "np.ndarray") -> Any:
        rows = [
            function(torch.tensor([label]), torch.Generator().manual_seed(int(seed) >> 1))
            for label, seed in zip(labels.tolist(), seeds, strict=True)
        ]
        texts = [row[0] if isinstance(row, list | tuple) and len(row) == 1 else row for row in rows]
        if all(isinstance(text, str) for text in texts):
            return texts
        for row in rows:
            if not isinstance(row, torch.Tensor):
                raise InputError(
                    f"the generator gave a {type(row).__name__}: should be a tensor [1, *shape], or a list of a text"
                )
        return torch.cat(rows)

    return draw
