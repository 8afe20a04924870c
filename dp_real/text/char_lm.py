"""A small language model of characters, trained here from real texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dp_base.progress import Progress, silent
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, TrainedHere
from dp_real.sections import Count, Rows, SamplingConfig, Width

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
    width: Width = Field(default=192, description="of a recurrent layer")
    layers: int = Field(default=1, ge=1, le=16, description="recurrent ones")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="in its training")
    train_steps: Count = Field(default=3000, description="of its training")
    train_batch: Rows = Field(default=128, description="texts of a training step")
    train_learning_rate: float = Field(default=4e-3, gt=0, description="at first; falls to 0")
    weight_decay: float = Field(default=0.01, ge=0, description="in its training")
    temperature: float = Field(default=1.0, gt=0, le=100, description="of sampling: lower is likelier and less varied")

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        """A model that is of no use is not cached.

        Raises InputError if the data have no texts to train on, DivergedError if what was trained is of no use.
        """
        from dp_real.text.models.char_lm import CharLM, CharLMGenerator, known_characters, train_char_lm

        examples = self.imitated(source, data)
        task = source.task

        def make() -> CharLM:
            return CharLM(known_characters(examples.x), task.n_classes, self)

        def train(unfinished: Path) -> CharLM:
            with progress("training the generator", self.train_steps) as advance:
                return train_char_lm(self, examples, task.n_classes, source.split, unfinished, advance)

        keys = tuple(key for key in type(self).model_fields if key != "temperature")
        model = self.trained_module(source, examples, task.n_classes, make, train, keys)
        return CharLMGenerator(model, task.sample_shape[0], task.n_classes, self.temperature)

    def training_seconds(self, task: Task) -> float:
        """By the time measured on one core with the default sizes, for the steps and the characters."""
        return 2e-9 * self.train_steps * self.train_batch * task.sample_shape[0] * self.layers * self.width**1.5
