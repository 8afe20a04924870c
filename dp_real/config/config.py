"""A run's configuration, whole: a validated frozen object. Its kinds of sections are those that are registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import tomli_w
from pydantic import Field, NonNegativeInt, model_validator

from dp_base.registry import Registry
from dp_real.data import DATA
from dp_real.examples import Task
from dp_real.generators import GENERATORS
from dp_real.learners import LEARNERS
from dp_real.sections import GuidanceConfig, PoolConfig, PracticeConfig, SamplingConfig, Section, TrainingConfig


def one_of(registry: Registry[Any], tag: str) -> Any:
    """The type of a section that is one of the registered kinds, told apart by the key `tag`."""
    kinds = tuple(kind for _, kind in registry.items())
    return Annotated[Union[kinds], Field(discriminator=tag)]  # noqa: UP007 (the kinds are known when it runs)


if TYPE_CHECKING:
    from dp_real.data import DataConfig as AnyData
    from dp_real.generators import GeneratorConfig as AnyGenerator
    from dp_real.learners import LearnerConfig as AnyLearner
else:
    AnyData, AnyGenerator, AnyLearner = one_of(DATA, "source"), one_of(GENERATORS, "kind"), one_of(LEARNERS, "kind")


class Config(Section):
    """One run, complete."""

    name: str = Field(pattern=r"^[^/\\]+$", description="of the run and its folder")
    seed: NonNegativeInt = 0
    threads: NonNegativeInt = Field(default=0, description="torch threads; 0: torch's own choice")
    tracker: Literal["none", "tensorboard", "wandb"] = Field(default="none", description="a dashboard of the run")
    data: AnyData
    generator: AnyGenerator
    sampling: SamplingConfig = SamplingConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    learner: AnyLearner
    training: TrainingConfig
    practice: PracticeConfig
    pool: PoolConfig = PoolConfig()

    @model_validator(mode="after")
    def _check(self) -> Config:
        self.generator.check(self.data)
        self.learner.check(self.training, self.data)
        return self

    @model_validator(mode="after")
    def _check_practice(self) -> Config:
        if self.practice.oversample > 1 and self.guidance.omega:
            raise ValueError("practice.oversample > 1 prunes plain samples: guidance.omega must be 0")
        if self.practice.examples == "real" and self.practice.additions:
            raise ValueError("practice.examples = 'real' cannot be added to: practice.additions must be 0")
        if self.practice.examples == "real" and not self.data.trains:
            raise ValueError(
                "practice.examples = 'real' takes the images that train a generator: data.train names them"
            )
        return self

    @property
    def task(self) -> Task:
        """What is learned; the data need not be loaded for it."""
        return self.data.task

    @property
    def samples(self) -> int:
        """Pool size when every addition has been made, N + kP."""
        return self.practice.initial + self.practice.additions * self.practice.increment

    def to_toml(self) -> str:
        """Resolved and complete: reading it back gives an equal Config."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
