"""A small class-conditional diffusion model of vectors or tiny images, trained here from real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt

from dp_base.progress import Progress, silent
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, GeneratorConfig
from dp_real.sections import SamplingConfig

if TYPE_CHECKING:
    from dp_real.examples import RealData
    from dp_real.protocols import Generator


@GENERATORS.named("denoiser", place=1)
class DenoiserConfig(GeneratorConfig):
    """A small class-conditional diffusion model of vectors or tiny images, trained here on first use."""

    kind: Literal["denoiser"]
    width: PositiveInt = 256
    blocks: PositiveInt = 3
    train_steps: PositiveInt = 3000
    train_batch: PositiveInt = 128
    train_learning_rate: float = Field(default=2e-3, gt=0)
    label_dropout: float = Field(default=0.1, ge=0, lt=1, description="trains the unconditional branch of CFG")

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        """From the cache, else trained now."""
        from dp_real.generators.models.denoiser import load_denoiser

        return load_denoiser(self, sampling, source, data or source.load(), progress)
