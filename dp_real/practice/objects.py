"""Python objects given to `dp_real.run`, identified by a digest of code and values: an edited one makes another run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from weakref import WeakValueDictionary

from pydantic import Field

from dp_base.errors import InputError, MissingError, warn_once
from dp_real.data import DATA, DataConfig
from dp_real.data.examples import Examples, RealData, Task, as_numbers
from dp_real.generators import GENERATORS, GeneratorConfig
from dp_real.generators.diffusers import DiffusersConfig
from dp_real.guidance.section import SamplingConfig
from dp_real.learners import LEARNERS, LearnerConfig
from dp_real.learners.section import TrainingConfig
from dp_real.runtime.section import Count, Seed

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from dp_real.protocols import Generator, Learner

GIVEN = "given"
GIVEN_PIPELINE = "given-pipeline"
SETS = {"validation", "test", "train"}
_kept: dict[str, Any] = {}  # by digest: what `give` was called with
_in_use = ContextVar[Mapping[str, Any]]("objects of the blocks around", default=MappingProxyType({}))  # by digest
_weakly: WeakValueDictionary[str, Any] = WeakValueDictionary()  # of ended runs and other threads, while in use
_left: dict[str, str] = {}  # an object's digest before a run, by that after it: the object may count calls

Digest = Field(description="of the Python object's code and values; dp_real.run writes it")


def give(thing: Any) -> str:
    """Register an object, so that a configuration with its digest finds it. Returns the digest."""
    thing = real_data(thing) if isinstance(thing, RealData | Mapping) else thing
    key = _key(thing)
    _kept[key] = thing
    return key


def _key(thing: Any) -> str:
    identity = digest(thing)
    return _left.get(identity, identity)


@contextmanager
def _given(thing: Any) -> Iterator[str]:
    """An object's key. After the block the object is held only weakly, unless `give` was called, too."""
    key = _key(thing)
    around = _in_use.set({**_in_use.get(), key: thing})
    with suppress(TypeError):  # it allows no weak reference
        _weakly[key] = thing
    try:
        yield key
    finally:
        _in_use.reset(around)
        _left[digest(thing)] = key  # its use may have changed what it counts


def remember_digest(key: str) -> None:
    """Let an object have the same key after its use, which may have changed what it counts."""
    if (thing := _known(key)) is not None:
        _left[digest(thing)] = key


def given_object(key: str, argument: str) -> Any:
    """The object of a digest. MissingError if this process was not given it."""
    if (thing := _known(key)) is None:
        raise MissingError(
            f"{argument}: this run was given a Python object, which is missing or was edited: call "
            f"dp_real.run(config, folder, resume=True, {argument}=…), or dp_real.give(…) to read the run"
        )
    return thing


def _known(key: str) -> Any:
    return _in_use.get().get(key, _kept.get(key, _weakly.get(key)))


def digest(thing: Any) -> str:
    """A digest of an object's code and values."""
    from dp_real.runtime.object_digest import object_digest

    return object_digest(thing)


@contextmanager
def with_objects(
    raw: Mapping[str, Any], *, learner: Any = None, generator: Any = None, data: Any = None, objective: Any = None
) -> Iterator[dict[str, Any]]:
    """A raw configuration with the kind `given` for each object, which is registered within the block."""
    from dp_real.guidance.entropy import OBJECTIVES

    if objective is not None and not callable(objective):
        raise InputError(f"objective = {objective!r}: should be a function; a name is for guidance.objective")
    if is_pipeline(generator) and "guided_by" in vars(generator):
        raise InputError("the generator is a guided pipeline: call dp_real.unguide, for the run guides it")
    facts = None if data is None else real_data(data)
    objects = {"learner": learner, "generator": generator, "data": facts, "objective": objective}
    with ExitStack() as at_end:
        keys = {name: at_end.enter_context(_given(thing)) for name, thing in objects.items() if thing is not None}
        changed = {**raw}
        if "learner" in keys:
            changed["learner"] = {"kind": GIVEN, "digest": keys["learner"]}
        if is_pipeline(generator):
            own = {key: value for key, value in raw.get("generator", {}).items() if key in DiffusersConfig.model_fields}
            changed["generator"] = {**own, "kind": GIVEN_PIPELINE, "model": keys["generator"]}
        elif "generator" in keys:
            guided = hasattr(generator, "sample")
            changed["generator"] = {"kind": GIVEN, "digest": keys["generator"], "guided": guided}
        if facts:
            task = {"shape" if name == "sample_shape" else name: value for name, value in vars(facts.task).items()}
            trains = facts.train is not None
            changed["data"] = {"source": GIVEN, "digest": keys["data"], "trains": trains, **task}
        if objective is not None:
            name = f"{GIVEN} {keys['objective']}"
            OBJECTIVES.register(name, partial(_given_objective, keys["objective"]), place=None)
            changed["guidance"] = {**raw.get("guidance", {}), "objective": name}
        yield changed


def _given_objective(key: str, logits: "Tensor") -> "Tensor":
    return given_object(key, "objective")(logits)


def is_pipeline(thing: Any) -> bool:
    """Whether an object is a pipeline, without importing diffusers."""
    return any(base.__name__ == "DiffusionPipeline" for base in type(thing).__mro__)


def real_data(thing: Any) -> RealData:
    """RealData, perhaps made from {"validation": (x, y), "test": (x, y), "train": (x, y)}.

    x: float32 [n, *sample_shape], images in [-1, 1]. y: int64 [n]. Without a test set, validation is used.
    """
    import torch

    from dp_real.practice.rounds import require_one_range

    data = thing if isinstance(thing, RealData) else _of_pairs(thing)
    named = {"validation": data.validation, "test": data.test, "train": data.train}
    own, sets = (
        {name: _checked(f"data: {name}", each, data.task) for name, each in part.items()} for part in (named, data.sets)
    )
    first, test = own["validation"], own["test"]
    for name, each in [*own.items(), *sets.items()] if isinstance(first.x, torch.Tensor) else ():
        if isinstance(each, Examples):  # others are read when they are used
            require_one_range(first.x, each.x, ("data: validation: images", f"data: {name}: images"))
            if each is test and torch.equal(each.x, first.x) and torch.equal(each.y, first.y):
                own["test"] = first  # both lose what real_per_class takes
    return replace(data, train=own["train"], validation=first, test=own["test"], sets=sets)


def _of_pairs(thing: Any) -> RealData:
    try:
        pairs = {name: (x, y) for name, (x, y) in thing.items()}
        shape = tuple(pairs["validation"][0].shape[1:])
    except (AttributeError, KeyError, TypeError, ValueError):
        right = "RealData, or {'validation': (x, y), 'test': (x, y), 'train': (x, y)} of arrays, at least the first"
        raise InputError(f"data is of type {type(thing).__name__}: should be {right}") from None
    sets = {name: _examples(f"data: {name}", x, y, shape) for name, (x, y) in pairs.items()}
    if unknown := sorted(sets.keys() - SETS):
        raise InputError(f"data has a set {unknown[0]!r}: should be validation, test or train")
    validation, labels = sets["validation"], range(1 + max(int(each.y.max()) for each in sets.values()))
    if missing := sorted({*labels} - {*validation.y.tolist()}):
        raise InputError(f"data: validation has no example of class {missing[0]}, and labels are 0 to {labels[-1]}")
    return RealData(Task(shape, tuple(map(str, labels))), sets.get("train"), validation, sets.get("test", validation))


def _checked(name: str, each: Any, task: Task) -> Any:
    """Examples that are checked, unless they are coded or read on demand."""
    import torch

    is_coded = isinstance(each, Examples) and isinstance(each.x, torch.Tensor) and not each.x.is_floating_point()
    if is_coded or not isinstance(each, Examples):
        return each
    examples = _examples(name, each.x, each.y, task.sample_shape)
    if (largest := int(examples.y.max())) >= task.n_classes:
        raise InputError(f"{name} has a label {largest}: should be below the number of classes, {task.n_classes}")
    return examples


def _examples(name: str, x: Any, y: Any, shape: tuple[int, ...]) -> Examples:
    import numpy as np
    import torch

    if np.ma.is_masked(y):
        raise InputError(f"{name} has masked labels: leave those examples out")
    if isinstance(y, np.ndarray):
        y = np.array(y)  # torch takes no negative strides, and warns of what cannot be written
    try:
        y = torch.as_tensor(y, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} has labels of type {type(y).__name__}: should be whole numbers from 0, [n]") from None
    if y.dim() != 1 or y.is_floating_point() or not len(y) or y.long().min() < 0:
        raise InputError(f"{name} has labels {y.dtype} {list(y.shape)}: should be whole numbers from 0, [n]")
    x = as_numbers(x, (len(y), *shape), name)
    if not x.isfinite().all():
        raise InputError(f"{name} has numbers that are not finite")
    return Examples(x, y.to(torch.int64, copy=True))


@DATA.named(GIVEN, place=None)
class GivenData(DataConfig):
    """Your own tensors, given to dp_real.run."""

    source: Literal["given"]
    digest: str = Digest
    shape: tuple[Count, ...] = Field(description="of an example")
    classes: tuple[str, ...] = Field(description="their names")
    definitions: tuple[str, ...] = Field(default=(), description="of the classes, for prompts")
    synonyms: tuple[str, ...] = Field(default=(), description="likewise")
    resize: int = Field(default=0, description="Task.resize")
    trains: bool = Field(default=False, description="whether there are training examples")
    split: Seed = Field(default=0, description="unused, as the sets are given")

    @property
    def task(self) -> Task:
        return Task(self.shape, self.classes, self.definitions, self.synonyms, self.resize)

    @property
    def has_training_examples(self) -> bool:
        return self.trains

    def load(self) -> RealData:
        return given_object(self.digest, "data")


@LEARNERS.named(GIVEN, place=None)
class GivenLearner(LearnerConfig):
    """Your own torch module, or a function of the task that makes one, given to dp_real.run."""

    modality: ClassVar[str | None] = None

    kind: Literal["given"]
    digest: str = Digest

    def fresh(self, task: Task, training: TrainingConfig, seed: int) -> "Learner":
        import torch

        from dp_real.learners.models.network import NetworkLearner
        from dp_real.protocols import INEXACT

        thing = given_object(self.digest, "learner")
        learner = NetworkLearner.fresh(lambda task: _module_of(thing, task), task, training, seed)
        example, right = torch.zeros(2, *task.sample_shape), [2, task.n_classes]
        with torch.no_grad():
            gave, again = learner.logits(example), learner.logits(example)
        shape = list(gave.shape) if isinstance(gave, torch.Tensor) else f"a {type(gave).__name__}"
        if shape != right:
            raise InputError(f"learner gives {shape} for samples {list(example.shape)}: should be logits {right}")
        if not torch.equal(gave, again):
            warn_once(f"learner gives other logits for the same samples: it is random or changes if called; {INEXACT}")
        return learner


def _module_of(thing: Any, task: Task) -> "nn.Module":
    """A copy of a given module, or of a function's, which takes samples and returns logits."""
    import torch
    from torch import nn

    from dp_real.guidance.entropy import logits_of
    from dp_real.runtime.distributed import device
    from dp_real.text.codes import texts_of

    is_function = callable(thing) and not isinstance(thing, nn.Module)
    module = thing(task) if is_function else thing
    is_script = isinstance(module, torch.jit.ScriptModule)  # its copies have no weights of their own
    if is_script or not isinstance(module, nn.Module) or not any(each.requires_grad for each in module.parameters()):
        right = "a torch module with weights to train, before torch.jit, or a function of the task that makes one"
        raise InputError(f"learner {'gave' if is_function else 'is'} a {type(module).__name__}: should be {right}")
    for name, value in module.state_dict().items():
        if nn.parameter.is_lazy(value):
            continue
        if not isinstance(value, torch.Tensor) or value.is_complex() or 0 in value.stride():
            raise InputError(f"learner: {name} cannot be saved: should be a tensor of real numbers with its own memory")
    module = deepcopy(module).float().to(device()).eval()
    module.register_forward_hook(lambda module, inputs, gave: logits_of(gave))
    example, failed = torch.zeros(2, *task.sample_shape, device=device()), None
    # Inputs are numbers, the codes of texts, or texts.
    for form in (torch.Tensor.float, torch.Tensor.int, lambda x: [text or " " for text in texts_of(x.int())]):
        reads = module.register_forward_pre_hook(lambda module, inputs, form=form: (form(inputs[0]),))
        try:
            with torch.no_grad():
                module(example)  # it also initialises lazy layers
            return module
        except Exception as error:  # any module may raise any error
            failed = failed or error
            reads.remove()
    raise InputError(f"learner cannot process samples {list(example.shape)}: {failed}") from failed


@GENERATORS.named(GIVEN, place=None)
class GivenGenerator(GeneratorConfig):
    """Your own function (labels, generator) -> images, or Generator, given to dp_real.run."""

    modality: ClassVar[str | None] = None

    kind: Literal["given"]
    digest: str = Digest
    guided: bool = Field(default=False, description="whether it is a dp_real.protocols.Generator, which takes guidance")

    @property
    def has_denoiser(self) -> bool:
        return self.guided

    @property
    def remedy(self) -> str:
        return "mend the generator that was given"

    def load(self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None) -> "Generator":
        from dp_real.generators.function import UserGenerator, unguided

        thing, name = given_object(self.digest, "generator"), "the generator"
        if self.guided:
            if sampling.guidance_scale != 1:
                raise InputError("sampling.guidance_scale is not passed to the generator that was given: it must be 1")
            return UserGenerator(thing.sample, name, source)
        return UserGenerator(unguided(_row_by_row(thing), name), name, source)


@GENERATORS.named(GIVEN_PIPELINE, place=None)
class GivenPipelineConfig(DiffusersConfig):
    """Your own pipeline, given to dp_real.run."""

    kind: Literal["given-pipeline"]
    model: str = Field(description="the digest of the pipeline; dp_real.run writes it")

    def index(self) -> dict[str, Any]:
        from dp_real.generators.pipelines.loading import check_draws_images

        pipe = given_object(self.model, "generator")
        name = type(pipe).__name__
        check_draws_images(type(pipe), name, "generator")
        names: dict[str, str] = {}  # of a DiT, whose classes have several, as in model_index.json
        for label, index in getattr(pipe, "labels", {}).items():
            earlier = names.get(str(index))
            names[str(index)] = f"{earlier}, {label}" if earlier else label
        return {"_class_name": name, "id2label": names}

    def opened(self) -> Any:
        from dp_real.runtime.distributed import device

        return given_object(self.model, "generator").to(device())

    def weights(self) -> dict[str, str]:
        return {key: place for key, place in super().weights().items() if key != "generator.model"}


def _row_by_row(function: "Callable[..., Any]") -> "Callable[[np.ndarray, np.ndarray], Any]":
    """Draw each row by its own seed."""
    import torch

    def draw(labels: "np.ndarray", seeds: "np.ndarray") -> Any:
        rows = []
        for label, seed in zip(labels.tolist(), seeds, strict=True):
            row = function(torch.tensor([label]), torch.Generator().manual_seed(int(seed) >> 1))
            rows.append(row.clone() if isinstance(row, torch.Tensor) else row)
        texts = [row[0] if isinstance(row, list | tuple) and len(row) == 1 else row for row in rows]
        if all(isinstance(text, str) for text in texts):
            return texts
        for row in rows:
            if not isinstance(row, torch.Tensor) or row.shape[:1] != (1,):
                gave = f"shape {[*row.shape]}" if isinstance(row, torch.Tensor) else f"a {type(row).__name__}"
                raise InputError(
                    f"the generator gave {gave} for one label: should be a tensor [1, *shape], or a list of one text"
                )
        return torch.cat(rows)

    return draw
