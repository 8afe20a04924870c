"""The data source of the theory: vectors x ~ N(0, I) with labels y = 1[x_0 > 0] (paper section 4)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dp_real.data import DATA, DataConfig
from dp_real.examples import Examples, RealData, Task
from dp_real.sections import Rows, Seed


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
        """The score of this distribution is known, so no generator is trained."""
        return False

    def load(self) -> RealData:
        """The key `split` is the seed."""
        import numpy as np
        import torch

        from dp_real.runtime.seeds import Stream, rng

        generator = rng(self.split, Stream.SPLIT)

        def draw(n: int) -> Examples:
            x = torch.from_numpy(generator.standard_normal((n, self.dimension), np.float32))
            return Examples(x, (x[:, 0] > 0).long())

        validation = draw(self.validation)
        test = draw(self.test)
        return RealData(self.task, None, validation, test)
