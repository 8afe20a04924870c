"""The generator kind `char-lm`."""

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


@GENERATORS.named("char-lm", place=6)
class CharLMConfig(TrainedHere):
    """A small class-conditional language model of characters, trained here on first use; for words and short texts."""

    has_denoiser: ClassVar[bool] = False
    examples: ClassVar[str | None] = "texts"
    has_likelihood: ClassVar[bool] = True
    recipe: ClassVar[int] = 1

    kind: Literal["char-lm"]
    width: Width = Field(default=192, description="of its recurrent layer")
    train_steps: Count = Field(default=3000, description="of its training")
    train_learning_rate: float = Field(default=4e-3, gt=0, description="at first; falls to 0")
    temperature: float = Field(default=1.0, gt=0, le=100, description="of sampling: lower is likelier and less varied")

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        from dp_real.text.models.char_lm import CharLM, CharLMGenerator, known_characters, train_char_lm

        examples = self.imitated(source, data)
        task = source.task

        def make() -> CharLM:
            return CharLM(known_characters(examples.x), task.n_classes, self.width)

        def train(unfinished: Path) -> CharLM:
            with progress("training the generator", self.train_steps) as advance:
                return train_char_lm(self, examples, task.n_classes, source.split, unfinished, advance)

        keys = tuple(key for key in type(self).model_fields if key != "temperature")
        model = self.trained_module(source, examples, task.n_classes, make, train, keys)
        return CharLMGenerator(model, task.sample_shape[0], task.n_classes, self.temperature)

    def training_seconds(self, task: Task) -> float:
        """As measured on one core with the default sizes."""
        return 2e-9 * self.train_steps * 128 * task.sample_shape[0] * self.width**1.5
