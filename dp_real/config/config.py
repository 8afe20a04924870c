from collections.abc import Iterator
from typing import Annotated, Self

import tomli_w
from pydantic import AfterValidator, Field, SerializeAsAny

import dp_real.practice.objects  # noqa: F401 (registers the kinds that stand for Python objects)
from dp_base.reading import KEY
from dp_real.learners import LearnerConfig
from dp_real.learners.section import TrainingConfig
from dp_real.practice.section import OF_ITS_KIND, DrawingConfig
from dp_real.runtime.section import Section

FORMAT = 1  # format number of config.toml and of a run's folder; see dp_base.reading.require_format on when it rises
MAX_NAME_BYTES = 150  # a folder's name may have 255 bytes, and some folders' names are longer than their run's


def check_name(name: str) -> str:
    """The name, if a folder can have it."""
    if not name.strip() or "/" in name or "\\" in name or not name.isprintable():
        raise ValueError("should be a name for a folder: printable characters on one line, without / and \\")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"should have at most {MAX_NAME_BYTES} bytes; it names a folder")
    return name


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("names one twice")
    return names


class CompareConfig(Section):
    """What `dp real compare` does unless its options say otherwise. A run ignores it."""

    arms: Annotated[tuple[str, ...], AfterValidator(_distinct)] = Field(
        default=("practice", "static"), min_length=1, description="the last is the baseline"
    )
    seeds: int = Field(default=4, ge=1, le=100_000, description="runs of each arm, compared in pairs")
    splits: int = Field(default=0, ge=0, le=100_000, description="data splits, each with a generator; 0: one per seed")


class Config(DrawingConfig):
    """The complete configuration of one run."""

    name: Annotated[str, AfterValidator(check_name)] = Field(description="of the run and its folder")
    quick: bool = Field(
        default=False, description="a trial of every part in about a minute; its results are no measurement"
    )
    threads: int = Field(default=0, ge=0, le=4096, description="torch threads; 0: torch's own choice")
    tracker: str = Field(default="none", description="a dashboard that accelerate knows, such as tensorboard or wandb")
    learner: Annotated[SerializeAsAny[LearnerConfig], OF_ITS_KIND]
    training: TrainingConfig
    compare: CompareConfig = CompareConfig()

    def _misfits(self) -> Iterator[str]:
        self.learner.check(self.training, self.data)
        yield from super()._misfits()
        yield from self._of_learner()
        yield from self._of_batches()

    def _of_learner(self) -> Iterator[str]:
        yield from self._of_kind("learner")
        if self.training.mixup and self.data.modality != "array":
            yield f"training.mixup is for images: leave it out, as {self._called('data')} has {self.data.modality}s"
        if self.pool.size and not self.learner.any_size:
            yield f"pool.size = {self.pool.size} is for networks; {self._called('learner')} needs 0"

    def _of_batches(self) -> Iterator[str]:
        training, weighs = self.training, self.practice.new_sample_weight != 1
        if weighs and not training.batch_size:
            yield "practice.new_sample_weight needs drawn batches: with training.batch_size = 0, all rows are used"
        if training.balanced_batches and not training.batch_size:
            yield "training.balanced_batches needs drawn batches: with training.batch_size = 0, all rows are used"
        if training.balanced_batches and weighs:
            yield "training.balanced_batches weights classes equally: practice.new_sample_weight must be 1"
        mixes = next((key for key in ("mixup", "cutmix") if getattr(training, key)), None)
        if mixes and training.logit_adjustment and self.practice.real and self.practice.needs_generator:
            yield (
                f"training.{mixes} mixes real and generated rows, which training.logit_adjustment tells apart: one of "
                "them must be 0"
            )

    def resolved(self) -> Self:
        """A copy for a run's record, with values that otherwise only the data show."""
        return self.model_copy(update={"data": self.data.resolved()})

    @property
    def neutral_keys(self) -> set[str]:
        """Keys that change no number."""
        return super().neutral_keys | {f"compare.{key}" for key in CompareConfig.model_fields}

    def to_toml(self) -> str:
        """TOML of all values that are not None. Reading it back gives an equal Config."""
        return tomli_w.dumps({KEY: FORMAT} | self.model_dump(mode="json", exclude_none=True))
