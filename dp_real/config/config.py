from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Self

import tomli_w
from pydantic import AfterValidator, Field, PlainValidator, SerializeAsAny, ValidationInfo, model_validator

import dp_real.objects  # noqa: F401 (registers the kinds that stand for Python objects)
from dp_base.errors import InputError
from dp_base.reading import KEY
from dp_base.registry import Registry
from dp_real.data import DATA, DataConfig
from dp_real.examples import Task
from dp_real.generators import GENERATORS, GeneratorConfig
from dp_real.learners import LEARNERS, LearnerConfig
from dp_real.sections import (
    CompareConfig,
    GuidanceConfig,
    PoolConfig,
    PracticeConfig,
    SamplingConfig,
    Section,
    Seed,
    TrainingConfig,
)

FORMAT = 1  # of config.toml and of the folder that a run leaves; see dp_base.reading.require_format on when it rises
LONGEST_NAME = 150  # bytes: a folder's name may have 255, and some are longer than the run's
MOST_SAMPLES = 10**9


def check_name(name: str) -> str:
    """The name, if it can be that of a folder."""
    if not name.strip() or "/" in name or "\\" in name or not name.isprintable():
        raise ValueError("should be a name for a folder: printable characters on one line, without / and \\")
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"should have at most {LONGEST_NAME} bytes; it names a folder")
    return name


KINDS: dict[str, Registry[Any]] = {"data": DATA, "generator": GENERATORS, "learner": LEARNERS}
"""The sections that are of a kind."""


class KindError(ValueError):
    """What is wrong with a section's kind, in whole words."""


def tag_of(section: str) -> str:
    """The key that tells a section's kind."""
    return "source" if section == "data" else "kind"


def _of_its_kind(value: Any, info: ValidationInfo) -> Section:
    """Any kind registered by the time that the section is read."""
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
            registry[str(kind)]  # raises MissingError for a kind of another package that cannot be loaded
        raise KindError(f"{key} = {kind!r}: should be one of {', '.join(map(repr, registry))}")
    return registry[kind].model_validate(value, context=info.context)


OF_ITS_KIND = PlainValidator(_of_its_kind)


class Config(Section):
    """The complete configuration of one run."""

    name: Annotated[str, AfterValidator(check_name)] = Field(description="of the run and its folder")
    seed: Seed = Field(default=0, description="of all draws")
    threads: int = Field(default=0, ge=0, le=4096, description="torch threads; 0: torch's own choice")
    tracker: str = Field(default="none", description="a dashboard that accelerate knows, such as tensorboard or wandb")
    data: Annotated[SerializeAsAny[DataConfig], OF_ITS_KIND]
    generator: Annotated[SerializeAsAny[GeneratorConfig], OF_ITS_KIND]
    sampling: SamplingConfig = SamplingConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    learner: Annotated[SerializeAsAny[LearnerConfig], OF_ITS_KIND]
    training: TrainingConfig
    practice: PracticeConfig
    pool: PoolConfig = PoolConfig()
    compare: CompareConfig = CompareConfig()

    @model_validator(mode="after")
    def _check(self) -> "Config":
        self.generator.check(self.data)
        self.learner.check(self.training, self.data)
        for misfits in (self._of_examples, self._of_generator, self._of_practice, self._of_batches, self._of_pool):
            for message in misfits():
                raise ValueError(message)
        return self

    def _of_examples(self) -> Iterator[str]:
        source = f"data.source = '{self.data.source}'"
        for key, kind in (("generator", self.generator), ("learner", self.learner)):
            if kind.examples not in (self.data.examples, None):
                has = f"no {kind.examples}" if self.data.examples == "numbers" else self.data.examples
                yield f"{source} has {has}: {key}.kind = '{kind.kind}' is for {kind.examples}"
        if self.pool.storage not in self.data.storages:
            wanted = " or ".join(f"'{storage}'" for storage in self.data.storages)
            yield f"{source}: pool.storage must be {wanted}"
        if self.pool.distinct and not self.data.has_likeness:
            yield f"{source} cannot tell which {self.data.examples} are alike: pool.distinct must be 0"
        of_images = [key for key in ("crop", "flip", "mixup", "cutmix", "randaugment") if getattr(self.training, key)]
        if of_images and self.data.examples != "numbers":
            yield f"training.{of_images[0]} is for images: leave it out, as {source} has {self.data.examples}"

    def _of_generator(self) -> Iterator[str]:
        kind = f"generator.kind = '{self.generator.kind}'"
        if not self.generator.has_denoiser:
            if self.guidance.guides_sampler:
                yield f"{kind} has no denoiser to guide: set guidance.candidates to at least 2, or guidance.omega = 0"
            if self.sampling.guidance_scale != 1:
                yield f"{kind} has no denoiser for classifier-free guidance: sampling.guidance_scale must be 1"
        if not self.generator.has_likelihood:
            if self.guidance.likelihood_weight:
                yield f"{kind} cannot tell how likely a label is: guidance.likelihood_weight must be 0"
            if self.pool.soft_labels:
                yield f"{kind} cannot tell how likely a class is: pool.soft_labels must be false"

    def _of_practice(self) -> Iterator[str]:
        practice = self.practice
        if self.samples > MOST_SAMPLES:
            yield f"practice: initial + additions * increment = {self.samples:,}: at most {MOST_SAMPLES:,}"
        if practice.oversample > 1 and self.guidance.omega:
            yield "practice.oversample > 1 prunes plain samples: guidance.omega must be 0"
        if practice.oversample > 1 and self.guidance.candidates > 1:
            yield "practice.oversample > 1 prunes, guidance.candidates > 1 chooses: one of them must be 1"
        if practice.real and not self.data.has_training_examples:
            yield f"practice.real = {practice.real} takes real training images: data.train names them"

    def _of_batches(self) -> Iterator[str]:
        training, weighs = self.training, self.practice.new_sample_weight != 1
        if weighs and not training.batch_size:
            yield "practice.new_sample_weight weighs what is drawn: with training.batch_size = 0, all are"
        if training.balanced_batches and not training.batch_size:
            yield "training.balanced_batches draws rows: with training.batch_size = 0, all are used"
        if training.balanced_batches and weighs:
            yield "training.balanced_batches weighs classes alike: practice.new_sample_weight must be 1"
        mixes = next((key for key in ("mixup", "cutmix") if getattr(training, key)), None)
        if mixes and training.logit_adjustment and self.practice.real and self.practice.draws:
            yield (
                f"training.{mixes} mixes real and generated rows, which training.logit_adjustment tells apart: one of "
                "them must be 0"
            )

    def _of_pool(self) -> Iterator[str]:
        if not self.pool.size:
            return
        where = f"pool.size = {self.pool.size}"
        if not self.generator.any_size:
            yield f"{where} is for pipelines; generator.kind = '{self.generator.kind}' needs 0"
        if not self.learner.any_size:
            yield f"{where} is for networks; learner.kind = '{self.learner.kind}' needs 0"
        if self.practice.real:
            yield f"{where}: real examples have the learner's size only; practice.real needs 0"

    def resolved(self) -> Self:
        """With all that otherwise only the data would tell, for a run's record."""
        return self.model_copy(update={"data": self.data.resolved()})

    def goes_on_from(self, begun: "Config") -> bool:
        """Whether a run begun with another configuration may go on with this one: no number would differ."""
        return self.numbers_beside(begun) == begun

    def numbers_beside(self, begun: "Config") -> "Config":
        """This one, with the keys that change no number as the other has them."""
        same = self.model_copy(update={"compare": begun.compare})
        if type(self.generator) is type(begun.generator):
            kept = {key: getattr(begun.generator, key) for key in self.generator.may_change}
            same = same.model_copy(update={"generator": self.generator.model_copy(update=kept)})
        return same

    @property
    def task(self) -> Task:
        """Known without loading the data. Raises MissingError if only a missing folder tells its classes."""
        return self.data.task

    @property
    def pool_shape(self) -> tuple[int, ...]:
        """An example's shape in the pool: the task's, unless pool.size keeps larger images. Raises as `task`."""
        shape = self.task.sample_shape
        size = self.pool.size
        return (shape[0], size, size) if size else shape

    @property
    def samples(self) -> int:
        """Size of the pool after all additions, N + kP."""
        return self.practice.initial + self.practice.additions * self.practice.increment

    @property
    def drawn_per_row(self) -> int:
        """Samples drawn for each row of an addition."""
        return self.practice.oversample * self.guidance.candidates

    @property
    def forwards(self) -> int:
        """Evaluations of the denoiser per sample; 0 without one."""
        return self.sampling.steps * self.sampling.branches if self.generator.has_denoiser else 0

    @property
    def guided_steps(self) -> list[int]:
        """Indices of the sampler's steps."""
        return self.guidance.guided_steps(self.sampling.steps)

    def sample_remedy(self, guided: bool) -> str:
        """What to change if samples are not finite: the keys that apply, with their values."""
        keys = [f"lower guidance.omega = {self.guidance.omega!r}"] if guided else []
        if self.sampling.guidance_scale != 1:
            keys.append(f"lower sampling.guidance_scale = {self.sampling.guidance_scale:g}")
        if self.generator.precision == "float16":
            keys.append("set generator.dtype = 'bfloat16' or 'float32'")
        return ", or ".join(keys) or self.generator.remedy

    def to_toml(self) -> str:
        """TOML of all that is not None. Reading it back gives an equal Config."""
        return tomli_w.dumps({KEY: FORMAT} | self.model_dump(mode="json", exclude_none=True))
