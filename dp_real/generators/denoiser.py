"""The generator kind `denoiser`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dp_base.progress import Progress, silent
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, TrainedHere
from dp_real.sections import Count, SamplingConfig, Width

if TYPE_CHECKING:
    from dp_real.examples import RealData, Task
    from dp_real.protocols import Generator


@GENERATORS.named("denoiser", place=1)
class DenoiserConfig(TrainedHere):
    """A small class-conditional diffusion model of vectors or tiny images, trained here on first use."""

    recipe: ClassVar[int] = 1

    kind: Literal["denoiser"]
    width: Width = Field(default=256, description="of its hidden layers")
    blocks: int = Field(default=3, ge=1, le=1000, description="residual ones")
    train_steps: Count = Field(default=3000, description="of its training")
    train_learning_rate: float = Field(default=2e-3, gt=0, description="at first; falls to 0")

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        from dp_real.generators.models.denoiser import Denoiser, DenoiserGenerator, train_denoiser

        examples = self.imitated(source, data)
        task = source.task

        def make() -> Denoiser:
            return Denoiser(task.sample_shape, task.n_classes, self.width, self.blocks)

        def train(unfinished: Path) -> Denoiser:
            with progress("training the generator", self.train_steps) as advance:
                return train_denoiser(self, examples, task.n_classes, source.split, advance)

        denoiser = self.trained_module(source, examples, task.n_classes, make, train)
        return DenoiserGenerator(denoiser, task.sample_shape, task.n_classes, sampling.steps, sampling.guidance_scale)

    def training_seconds(self, task: Task) -> float:
        """As measured on one core with the default sizes."""
        return 0.009 * self.train_steps
