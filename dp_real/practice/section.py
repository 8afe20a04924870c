"""The part of a configuration that determines the drawn samples, without the learner, and its kinds of sections."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, PlainValidator, SerializeAsAny, ValidationError, ValidationInfo, model_validator

from dp_base.errors import InputError
from dp_base.reading import shortened
from dp_base.registry import Registry
from dp_real.data import DATA, DataConfig
from dp_real.data.examples import RealData, Task
from dp_real.generators import GENERATORS, GeneratorConfig
from dp_real.guidance.section import GuidanceConfig, SamplingConfig
from dp_real.learners import LEARNERS
from dp_real.pool.section import PoolConfig
from dp_real.runtime.section import FOLDER, Count, CountOrZero, ModelPlace, PartConfig, Section, Seed

MAX_SAMPLES = 10**9


class PracticeConfig(PartConfig):
    """Algorithm 1 of the paper: N = initial, P = increment, k = additions, T_max = patience, tau = evaluate_every."""

    initial: CountOrZero = Field(description="samples before training")
    increment: Count = Field(default=1, description="samples of an addition")
    additions: CountOrZero = Field(default=0, description="additions at most; 0: a static run")
    patience: Count = Field(default=3, description="evaluations without a new best accuracy before samples are added")
    watch: Literal["accuracy", "balanced"] = Field(
        default="accuracy",
        description="metric of patience: accuracy on validation examples, as in the paper, or balanced: its mean "
        "over classes, for unequal classes",
    )
    min_delta: float = Field(default=0.0, ge=0, description="by which a new best accuracy exceeds the last one")
    patience_growth: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="T_max is patience * (pool / N) to this power; 0: fixed; 1: in proportion to the pool",
    )
    in_warmup: bool = Field(
        default=False, description="add in warm-up, too, once the accuracy is significantly above chance"
    )
    evaluate_every: Count = Field(default=50, description="optimizer steps between evaluations")
    oversample: int = Field(
        default=1, ge=1, le=1000, description="draw this many times the rows, unguided, and prune them"
    )
    keep: str = Field(
        default="hardest",
        description="rows that pruning keeps: hardest, for additions only; or a registered rule, for initial rows, too",
    )
    encoder: ModelPlace | None = Field(
        default=None,
        description="encodes images in the arms covariance and probe: a folder or hub id of transformers; "
        "none: a learner trained on the generator's real images",
    )
    real: CountOrZero = Field(
        default=0, description="initial examples that are real training images; the others are generated"
    )
    imbalance: float = Field(
        default=1.0,
        ge=1,
        le=1e6,
        description="ratio of the most frequent class to the rarest among real examples in the pool",
    )
    classes: Literal["balanced", "fill"] = Field(
        default="balanced",
        description="of generated examples; balanced: each equally often; fill: those with the fewest examples first",
    )
    new_sample_weight: float = Field(
        default=1.0, gt=0, le=1e9, description="how often the latest round's rows are drawn, relative to others"
    )

    def weights(self) -> dict[str, str]:
        return {"practice.encoder": self.encoder} if self.encoder else {}

    @property
    def initial_oversample(self) -> int:
        """Draws per initial example; 1 for `hardest`, which needs a learner."""
        return 1 if self.keep == "hardest" else self.oversample

    @property
    def needs_generator(self) -> bool:
        return self.additions > 0 or self.real < self.initial

    @model_validator(mode="after")
    def _check(self) -> "PracticeConfig":
        if self.imbalance > 1 and not self.real:
            raise ValueError(f"imbalance = {self.imbalance:g} is for real examples: set real")
        if self.real > self.initial:
            raise ValueError(f"real = {self.real}: at most all of the initial = {self.initial} examples")
        if self.keep != "hardest" and self.oversample == 1:
            raise ValueError(f"keep = {self.keep!r} prunes what is drawn too often: set oversample to at least 2")
        return self

    def t_max(self, pool_size: int) -> int:
        """T_max in evaluations. With a growth of 1 it is a constant number of passes."""
        return max(1, round(self.patience * (pool_size / (self.initial or self.increment)) ** self.patience_growth))


Root = TypeVar("Root", bound=Section)

KINDS: dict[str, Registry[Any]] = {"data": DATA, "generator": GENERATORS, "learner": LEARNERS}
"""The sections that have a kind."""


class KindError(ValueError):
    """A section's kind is wrong. The message says why."""


def tag_of(section: str) -> str:
    """The key of a section's kind."""
    return "source" if section == "data" else "kind"


def _of_its_kind(value: Any, info: ValidationInfo) -> Section:
    """A section of any kind that is registered when it is validated."""
    section = str(info.field_name)
    key, registry = f"{section}.{tag_of(section)}", KINDS[section]
    if isinstance(value, Section):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"should be a section [{section}]")
    if tag_of(section) not in value:
        raise KindError(f"key {key} is missing")
    kind = value[tag_of(section)]
    if not isinstance(kind, str) or kind not in registry:
        with suppress(InputError):
            registry[str(kind)]  # raises MissingError if another package's kind cannot be loaded
        raise KindError(f"{key} = {kind!r}: should be one of {', '.join(map(repr, registry))}")
    return registry[kind].model_validate(value, context=info.context)


OF_ITS_KIND = PlainValidator(_of_its_kind)


class DrawingConfig(Section):
    """The configuration of samples, without the learner."""

    seed: Seed = Field(default=0, description="of all draws")
    data: Annotated[SerializeAsAny[DataConfig], OF_ITS_KIND]
    generator: Annotated[SerializeAsAny[GeneratorConfig], OF_ITS_KIND]
    sampling: SamplingConfig = SamplingConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    practice: PracticeConfig
    pool: PoolConfig = PoolConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problems := [*self._misfits()]:
            raise ValueError("; ".join(problems))
        return self

    def _misfits(self) -> Iterator[str]:
        """Faults of keys that do not fit each other. ValueError for a kind that does not fit others."""
        self.generator.check(self.data)
        yield from self._of_examples()
        yield from self._of_generator()
        yield from self._of_practice()
        yield from self._of_pool()

    def _called(self, part: str) -> str:
        section = getattr(self, part)
        kind = getattr(section, tag_of(part))
        if getattr(section, "digest", None) == "":
            return "a Practice with shape"
        known = {"given": f"the {part} that was given", "given-texts": "a Practice of texts"}
        return known.get(kind, f"{part}.{tag_of(part)} = '{kind}'")

    def _of_kind(self, key: str) -> Iterator[str]:
        kind = getattr(self, key)
        if kind.modality not in (self.data.modality, None):
            has = f"{self.data.modality}s" if kind.modality == "array" else f"no {kind.modality}s"
            yield f"{self._called('data')} has {has}: {self._called(key)} is for {kind.modality}s"

    def _of_examples(self) -> Iterator[str]:
        source = self._called("data")
        yield from self._of_kind("generator")
        if self.pool.storage not in self.data.storages:
            wanted = " or ".join(f"'{storage}'" for storage in self.data.storages)
            yield f"{source}: pool.storage must be {wanted}"
        if self.pool.distinct and self.data.near_duplicates(1.0) is None:
            yield f"{source} has no measure of similar {self.data.modality}s: pool.distinct must be 0"

    def _of_generator(self) -> Iterator[str]:
        kind = self._called("generator")
        if not self.generator.has_denoiser:
            if self.guidance.guides_sampler:
                others = "".join(f", leave out guidance.{key}" for key in self.guidance.of_sampler)
                yield f"{kind} has no denoiser to guide: set guidance.candidates to at least 2{others}, or omega = 0"
            if self.sampling.guidance_scale != 1:
                yield f"{kind} has no denoiser for classifier-free guidance: sampling.guidance_scale must be 1"
        if not self.generator.has_likelihood:
            if self.guidance.likelihood_weight:
                yield f"{kind} knows no probability of a label: guidance.likelihood_weight must be 0"
            if self.pool.soft_labels:
                yield f"{kind} knows no probability of a class: pool.soft_labels must be false"

    def _of_practice(self) -> Iterator[str]:
        practice = self.practice
        if self.samples > MAX_SAMPLES:
            yield f"practice: initial + additions * increment = {self.samples:,}: at most {MAX_SAMPLES:,}"
        if practice.oversample > 1 and self.guidance.omega:
            yield "practice.oversample > 1 prunes plain samples: guidance.omega must be 0"
        if practice.oversample > 1 and self.guidance.candidates > 1:
            yield "practice.oversample > 1 prunes, guidance.candidates > 1 selects: one of them must be 1"
        if practice.real and self.data.real_per_class:
            yield "practice.real and data.real_per_class both select real examples to train on: set one to 0"
        if practice.real and not self.data.has_training_examples:
            yield f"practice.real = {practice.real} needs real training examples: data.train names them"
        if practice.encoder and self.data.modality == "text":
            yield f"practice.encoder = {practice.encoder!r} encodes images, and data.source has texts: leave it out"

    def _of_pool(self) -> Iterator[str]:
        where = f"pool.size = {self.pool.size}"
        if self.pool.size and not self.generator.any_size:
            yield f"{where} is for pipelines; {self._called('generator')} needs 0"
        for key in ("practice.real", "data.real_per_class"):
            if self.pool.size and reduce(getattr, key.split("."), self):
                yield f"{where}: real examples have only the learner's size; {key} needs 0"

    def real_data(self) -> RealData:
        """The sets. With data.real_per_class some validation examples are moved to `few`. Raises as data.load."""
        from dp_real.data.sets.real_rows import with_few

        data, few = self.data.load(), self.data.real_per_class
        return with_few(data, few, self.practice.additions > 0, self.data.split) if few else data

    @property
    def task(self) -> Task:
        """The task, without loading the data. MissingError if its classes are in a missing folder."""
        return self.data.task

    @property
    def pool_shape(self) -> tuple[int, ...]:
        """An example's shape in the pool: the task's, unless pool.size is set. Raises as `task`."""
        shape = self.task.sample_shape
        size = self.pool.size
        return (shape[0], size, size) if size else shape

    @property
    def samples(self) -> int:
        """Size of the pool after all additions, N + kP."""
        return self.practice.initial + self.practice.additions * self.practice.increment

    @property
    def uses_training_examples(self) -> bool:
        """Whether real examples train the generator or the learner."""
        return self.practice.real > 0 or (self.practice.needs_generator and self.generator.trained_here)

    @property
    def drawn_per_row(self) -> int:
        """Samples drawn for each row of an addition."""
        return self.practice.oversample * self.guidance.candidates

    @property
    def forwards(self) -> int:
        """Evaluations of the denoiser per sample; 0 without a denoiser."""
        return self.sampling.steps * self.sampling.branches if self.generator.has_denoiser else 0

    @property
    def guided_steps(self) -> list[int]:
        """Indices of the guided steps."""
        return self.guidance.guided_steps(self.sampling.steps)

    @property
    def neutral_keys(self) -> set[str]:
        """Keys that change no sample."""
        return {f"generator.{key}" for key in self.generator.may_change}

    def sample_remedy(self, guided: bool) -> str:
        """What to change if samples are not finite: the relevant keys, with their values."""
        steered = "wrong_share" if self.guidance.omega == "auto" else "omega"
        keys = [f"lower guidance.{steered} = {getattr(self.guidance, steered)!r}"] if guided else []
        if self.sampling.guidance_scale != 1:
            keys.append(f"lower sampling.guidance_scale = {self.sampling.guidance_scale:g}")
        if self.generator.precision == "float16":
            keys.append("set generator.dtype = 'bfloat16' or 'float32'")
        return ", or ".join(keys) or self.generator.remedy


# two of them, and the faults of one


def differences(one: "DrawingConfig", other: "DrawingConfig", but: Collection[str] = ()) -> dict[str, tuple[Any, Any]]:
    """Both values of each key in which two configurations differ, apart from the keys `but`."""
    before, after = (flat(each.model_dump(mode="json")) for each in (one, other))
    values = {key: (before.get(key), after.get(key)) for key in before | after if key not in but}
    return {key: (was, now) for key, (was, now) in values.items() if was != now}


def flat(sections: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Sections as one dictionary with dotted keys."""
    dotted: dict[str, Any] = {}
    for key, value in sections.items():
        dotted |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return dotted


def validated(root: type[Root], raw: Mapping[str, Any], where: str, folder: Path | None = None) -> Root:
    """Validate a configuration. One InputError lists all problems, also those that unknown keys would hide."""
    try:
        return root.model_validate(raw, context={FOLDER: folder})
    except ValidationError as error:
        problems = _problems(error, raw, root)
    given = flat(raw)
    if given.get("generator.kind") == "function" and given.get("data.source") != "text":
        problems.append("dp real init NAME --kind function --from FOLDER writes a file that fits")
    raise InputError(f"{where}: {'; '.join(problems)}")


def _problems(error: ValidationError, raw: Mapping[str, Any], root: type[Section]) -> list[str]:
    errors = error.errors()
    sentences = [explain(problem, raw, root) for problem in errors]
    if all(problem["type"] == "extra_forbidden" for problem in errors):
        known: Any = deepcopy(raw)
        for *path, last in (problem["loc"] for problem in errors):
            reduce(getitem, path, known).pop(last)
        try:
            root.model_validate(known)
        except ValidationError as further:
            sentences += _problems(further, known, root)
    return sentences


def explain(problem: Any, raw: Mapping[str, Any], root: type[Section]) -> str:
    """A sentence on an entry of ValidationError.errors(): key, value, what would be right."""
    keys = [str(part) for part in problem["loc"] if not re.match(r"[\w-]+\[", str(part))]  # a type of value is no key
    key = ".".join(keys)
    match problem["type"]:
        case "extra_forbidden":
            fields = root.model_fields.items()
            homes = [name for name, field in fields if key in getattr(field.annotation, "model_fields", ())]
            if homes:
                return f"unknown key {key}; did you mean {' or '.join(f'{home}.{key}' for home in homes)}?"
            known = (_section(keys[0], raw, root) if len(keys) > 1 else root).model_fields
            similar = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0.5)
            hint = f"did you mean {'.'.join([*keys[:-1], similar[0]])}?" if similar else f"there are {', '.join(known)}"
            return f"unknown key {key}; {hint}"
        case "missing":
            return f"key {key} is missing"
        case "value_error" if isinstance(problem["ctx"]["error"], KindError):
            return str(problem["ctx"]["error"])
    message = problem["msg"].removeprefix("Value error, ")
    value = "" if isinstance(problem["input"], Mapping) else f" = {shortened(repr(problem['input']))}"
    where = f"{key}{value}: " if key else ""
    return f"{where}{message[:1].lower()}{message[1:]}"


def _section(name: str, raw: Mapping[str, Any], root: type[Section]) -> type[Section]:
    """A section's class; its kind, if any, exists."""
    section: Any = root.model_fields[name].annotation
    return KINDS[name][raw[name][tag_of(name)]] if name in KINDS else section
