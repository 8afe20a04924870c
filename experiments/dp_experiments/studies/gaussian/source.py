"""The theory's own data (paper section 4) and the generator that knows their score."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dp_real.data import DATA, DataConfig
from dp_real.data.examples import Examples, RealData, Task
from dp_real.generators import GENERATORS, GeneratorConfig
from dp_real.guidance.section import SamplingConfig
from dp_real.runtime.section import Rows, Seed

if TYPE_CHECKING:
    from dp_real.protocols import Generator


@DATA.named("gaussian", place=4)
class GaussianDataConfig(DataConfig):
    """The theory's own data: vectors x ~ N(0, I), y = 1[x_0 > 0]."""

    source: Literal["gaussian"]
    split: Seed = Field(default=0, description="seed of the validation and test rows")
    dimension: Rows = Field(default=200, description="of the vectors")
    validation: Rows = Field(default=1000, description="vectors")
    test: Rows = Field(default=50_000, description="vectors")

    @property
    def task(self) -> Task:
        return Task((self.dimension,), ("negative", "positive"))

    @property
    def has_training_examples(self) -> bool:
        return False

    def load(self) -> RealData:
        """Validation rows are drawn first, then test rows."""
        import numpy as np
        import torch

        from dp_real.runtime.seeds import Stream, rng

        generator = rng(self.split, Stream.SPLIT)

        def draw(n: int) -> Examples:
            x = torch.from_numpy(generator.standard_normal((n, self.dimension), np.float32))
            return Examples(x, (x[:, 0] > 0).long())

        return RealData(self.task, None, draw(self.validation), draw(self.test))


@GENERATORS.named("gaussian", place=4)
class GaussianConfig(GeneratorConfig):
    """The exact score of the gaussian data."""

    kind: Literal["gaussian"]

    def load(self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None) -> "Generator":
        from dp_experiments.studies.gaussian.exact_score import GaussianGenerator

        (dimension,) = source.task.sample_shape
        return GaussianGenerator(dimension, sampling.steps, max(sampling.guidance_scale, 1.0))

    def check(self, source: DataConfig) -> None:
        if source.source != "gaussian":
            raise ValueError("generator.kind = 'gaussian' knows the score of data.source = 'gaussian' only")
