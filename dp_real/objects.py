"""Python objects given to `dp_real.run`, by a digest of their code and values: an edited one is another run."""

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
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
ARRAYS = {"Tensor", "ndarray"}
CONSTANT = bool | int | float | str | bytes | tuple | frozenset | type | None
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
    from torch import Tensor, nn

    from dp_real.runtime.cache import fingerprints

    if isinstance(thing, Tensor):
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
        return [digest(value, *above) for value in thing]
    if isinstance(thing, set | frozenset):
        return sorted(digest(value, *above) for value in thing)
    if isinstance(thing, nn.Module):
        own = [module for module in thing.modules() if not type(module).__module__.startswith("torch.")]
        code = sorted(_source(kind) for kind in set(map(type, own)))
        state = [{name: value for name, value in vars(module).items() if name != "training"} for module in own]
        return [repr(thing), code, digest([*map(_constants, state), thing.state_dict()], *above)]
    code = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    state = _bound(thing) if code is thing else getattr(thing, "__dict__", {})
    says_itself = not callable(thing) and not state and type(thing).__repr__ is not object.__repr__
    return repr(thing) if says_itself else [_source(code), digest(state, *above)]


def _bound(function: Any) -> dict[str, Any]:
    if not inspect.isfunction(function):
        return {}
    names = inspect.getclosurevars(function)
    known = {name: value for name, value in names.globals.items() if not isinstance(value, type)}
    return _constants(known | dict(names.nonlocals) | {"": function.__defaults__})


def _constants(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items() if isinstance(value, CONSTANT) or type(value).__name__ in ARRAYS
    }


def _source(code: Any) -> Any:
    try:
        source = inspect.getsource(code)
        if getattr(code, "__name__", "") != "<lambda>":  # of which a line may hold several
            return source
    except (OSError, TypeError):  # made without a file, or written in C
        source = getattr(code, "__qualname__", repr(code))
    compiled = getattr(code, "__code__", None)
    constants = [each for each in compiled.co_consts if isinstance(each, CONSTANT)] if compiled else []
    return [source, compiled.co_code.hex(), repr(constants)] if compiled else source


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
        return thing
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


def _examples(name: str, x: Any, y: Any, shape: tuple[int, ...]) -> Examples:
    import torch

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
