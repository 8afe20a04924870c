"""The exact score of the theory's own data (dp_real.data.gaussian)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dp_base.progress import Progress, silent
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, GeneratorConfig
from dp_real.sections import SamplingConfig

if TYPE_CHECKING:
    from dp_real.examples import RealData
    from dp_real.protocols import Generator


@GENERATORS.named("gaussian", place=4)
class GaussianConfig(GeneratorConfig):
    """The exact score of the gaussian data."""

    kind: Literal["gaussian"]

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        """Nothing is trained or fetched."""
        from dp_real.generators.models.gaussian import GaussianGenerator

        (dimension,) = source.task.sample_shape
        return GaussianGenerator(dimension, sampling.steps, max(sampling.guidance_scale, 1.0))

    def check(self, source: DataConfig) -> None:
        """Raise ValueError for any data but the gaussian."""
        if source.source != "gaussian":
            raise ValueError("generator.kind = 'gaussian' knows the score of data.source = 'gaussian' only")
