"""Python objects given to `dp_real.run`, by a digest of their code and values: an edited one is another run."""

import inspect
import sys
import sysconfig
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dp_base.checksums import json_digest
from dp_base.errors import InputError, MissingError
from dp_base.progress import Progress, silent
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
PLAIN = bool | int | float | str | bytes | None
INSTALLED = (*(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")), str(Path(__file__).parent))
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


def digest(thing: Any, *above: int) -> str:
    """Of an object's source and values; `above`: ids of what it lies in."""
    return "above" if id(thing) in above else json_digest(_told(thing, *above, id(thing)))[:16]


def _told(thing: Any, *above: int) -> Any:
    import numpy as np
    import torch

    from dp_real.runtime.cache import fingerprints

    if isinstance(thing, torch.Tensor):
        thing = (thing.float() if thing.dtype == torch.bfloat16 else thing).detach().numpy(force=True)
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        return fingerprints(thing)
    if isinstance(thing, RealData):
        thing = vars(thing) | {"task": vars(thing.task)}
    if isinstance(thing, partial):
        thing = [thing.func, thing.args, thing.keywords]
    if inspect.ismethod(thing):
        thing = [thing.__func__, thing.__self__]
    if isinstance(thing, Mapping):
        return dict(sorted((str(name), digest(value, *above)) for name, value in thing.items()))
    if isinstance(thing, tuple | list):
        return [repr(value) if isinstance(value, PLAIN) else digest(value, *above) for value in thing]
    if isinstance(thing, set | frozenset):
        return sorted(digest(value, *above) for value in thing)
    return _by_code(thing, *above)


def _by_code(thing: Any, *above: int) -> Any:
    from torch import nn

    if isinstance(thing, nn.Module):
        of_torch = vars(nn.Module()).keys()
        own = [module for module in thing.modules() if not _is_installed(type(module))]
        state = [{name: value for name, value in vars(module).items() if name not in of_torch} for module in own]
        parts = [*map(type, own), *map(_named, state), dict(thing.named_buffers()), thing.state_dict()]
        return [repr(thing), digest(parts, *above)]
    if isinstance(thing, type):
        own = [kind for kind in thing.__mro__ if not _is_installed(kind)]
        functions = [value for kind in own for value in vars(kind).values() if inspect.isfunction(value)]
        return [thing.__qualname__, *map(_source, own), digest(functions, *above)]
    if inspect.isfunction(thing):
        return [_source(thing), digest(_referred(thing), *above)]
    if inspect.isroutine(thing):
        return thing.__qualname__
    state = object.__getstate__(thing)  # pyrefly: ignore[missing-attribute]
    config = getattr(thing, "config", None)
    if isinstance(config, Mapping) and _is_installed(type(thing)):  # of diffusers: other attributes change in use
        parts = {name: part for name, part in vars(thing).items() if hasattr(part, "config")}
        state = {name: value for name, value in config.items() if not name.startswith("_")} | parts
    says_itself = not callable(thing) and not state and type(thing).__repr__ is not object.__repr__
    return repr(thing) if says_itself else [digest(type(thing), *above), digest(state, *above)]


def _referred(function: FunctionType) -> dict[str, Any]:
    """Defaults, what encloses a function, and globals."""
    outside = {name: function.__globals__[name] for name in _names(function.__code__) & function.__globals__.keys()}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it is empty as yet
            outside[name] = cell.cell_contents
    return _named(outside) | {"": [function.__defaults__, function.__kwdefaults__]}


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without modules; what is installed by its name alone."""
    known = {name: value for name, value in values.items() if not isinstance(value, ModuleType)}
    return {name: value.__qualname__ if _is_installed(value) else value for name, value in known.items()}


def _is_installed(code: Any) -> bool:
    """Whether a class or function is not the user's."""
    if inspect.isfunction(code):
        return code.__code__.co_filename.startswith(INSTALLED)
    if isinstance(code, type):
        file = getattr(sys.modules.get(code.__module__), "__file__", None) or ""
        return not code.__flags__ & MADE_HERE or file.startswith(INSTALLED)
    return inspect.isbuiltin(code)


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(each) for each in code.co_consts if isinstance(each, CodeType)))


def _source(code: Any) -> Any:
    source = code.__qualname__
    with suppress(OSError, TypeError):  # of Python's own prompt, or written in C
        source = inspect.getsource(code)
    is_known = source != code.__qualname__ and code.__name__ != "<lambda>"  # of which a line may hold several
    return source if is_known or not inspect.isfunction(code) else [source, _compiled(code.__code__)]


def _compiled(code: CodeType) -> list[Any]:
    constants = [_compiled(each) if isinstance(each, CodeType) else digest(each) for each in code.co_consts]
    return [code.co_code.hex(), code.co_names, constants]


def with_objects(
    raw: Mapping[str, Any], *, learner: Any = None, generator: Any = None, data: Any = None
) -> dict[str, Any]:
    """A raw configuration with the kind `given` for each object."""
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
    """With sets in memory as dictionaries' are, but for bytes and codes."""
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
            is_of_numbers = type(source).as_samples is DataConfig.as_samples
            return Checked(thing, source) if is_of_numbers else thing
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


def _row_by_row(function: "Callable[..., Tensor]") -> "Callable[[np.ndarray, np.ndarray], Tensor]":
    """So that runs repeat."""
    import torch

    def draw(labels: "np.ndarray", seeds: "np.ndarray") -> "Tensor":
        rows = [
            function(torch.tensor([label]), torch.Generator().manual_seed(int(seed) >> 1))
            for label, seed in zip(labels.tolist(), seeds, strict=True)
        ]
        for row in rows:
            if not isinstance(row, torch.Tensor):
                raise InputError(f"the generator gave a {type(row).__name__}: should be a tensor [1, *shape]")
        return torch.cat(rows)

    return draw
