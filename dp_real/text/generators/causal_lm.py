"""A language model of transformers that writes texts on request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from dp_base.progress import Progress, silent
from dp_real.anchors import ModelPlace
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, GeneratorConfig, ImageCost
from dp_real.sections import GuidanceConfig, Rows, SamplingConfig
from dp_real.text.templates import EXAMPLES, TextTemplates

if TYPE_CHECKING:
    from dp_real.examples import RealData, Task
    from dp_real.protocols import Generator

STAND_IN = "stand-in"
CHARACTERS = 4  # of a token, about
SHOT = 50  # tokens of a real example in a prompt, about


@GENERATORS.named("causal-lm", place=7)
class CausalLMConfig(GeneratorConfig):
    """A language model of transformers in a folder or on the hub, asked by prompts (guidance.candidates)."""

    has_denoiser: ClassVar[bool] = False
    examples: ClassVar[str | None] = "texts"
    has_likelihood: ClassVar[bool] = True

    kind: Literal["causal-lm"]
    model: ModelPlace = Field(
        description="a folder, or a hub id, which is fetched unless it is in the hub's cache; or a .gguf file, which "
        "may be one of an installed package, package:NAME/FILE.gguf; 'stand-in': a tiny one, of random weights, to try",
    )
    prompts: TextTemplates = Field(
        default=("Write a short text about {}.",),
        description="a row's seed picks one; {}: the class; also {definition}, {synonyms}, and {examples} with shots",
    )
    chat: bool = Field(default=False, description="put prompts into the tokenizer's chat template, as a user's turn")
    system: str = Field(default="", description="the chat's system message; none if it is empty")
    shots: int = Field(
        default=0,
        ge=0,
        le=100,
        description="real validation examples of the class in a prompt, drawn by the row's seed",
    )
    temperature: float = Field(default=1.0, gt=0, le=100, description="of sampling: lower is likelier and less varied")
    top_p: float = Field(default=1.0, gt=0, le=1, description="draw from the likeliest tokens of this share; 1: all")
    top_k: int = Field(default=0, ge=0, description="draw from so many of the likeliest tokens; 0: all")
    max_new_tokens: Rows = Field(default=128, description="of a text; what would follow is cut off")
    stop: tuple[str, ...] = Field(default=(), description="strings that end a text, and do not belong to it")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(default="float32", description="of its weights")
    batch_size: int = Field(
        default=0, ge=0, le=10**6, description="rows on the GPU at a time, halved when memory runs out; 0: all that fit"
    )
    offload: bool = Field(default=False, description="wait in the CPU's memory while the learner trains")

    @model_validator(mode="after")
    def _check(self) -> CausalLMConfig:
        lacking = [template for template in self.prompts if (EXAMPLES in template) != bool(self.shots)]
        if lacking and self.shots:
            raise ValueError(f"prompt {lacking[0]!r} has no {EXAMPLES}, where shots = {self.shots} examples would go")
        if lacking:
            raise ValueError(f"prompt {lacking[0]!r} has {EXAMPLES}: shots says how many, at least 1")
        if self.system and not self.chat:
            raise ValueError("system is a chat's message: set chat = true")
        if "" in self.stop:
            raise ValueError("stop has an empty string, which would end each text at once")
        return self

    @property
    def precision(self) -> str:
        return self.dtype

    @property
    def remedy(self) -> str:
        return "change generator.prompts or stop, or raise generator.max_new_tokens"

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        """Real examples are needed for prompts with examples only.

        Raises MissingError if weights are missing, InputError for a model, a tokenizer or prompts that cannot be used.
        """
        from dp_real.generators.models.prompts import class_prompts
        from dp_real.text.models.causal_lm import CausalLMGenerator
        from dp_real.text.packed_models import as_folder

        task = source.task
        prompts = class_prompts(self.prompts, task.classes, task.definitions, task.synonyms)
        shown = (data or source.load()).validation if self.shots else None
        if self.model == STAND_IN:
            from dp_real.generators.models.stand_in import stand_in_folder

            model = stand_in_folder()
        else:
            model = as_folder(self.model, progress)
        return CausalLMGenerator(self, model, prompts, task.sample_shape[0], shown)

    @property
    def shows_examples(self) -> bool:
        return self.shots > 0

    def weights(self) -> dict[str, str]:
        return {} if self.model == STAND_IN else {"generator.model": self.model}

    def tokens(self, task: Task) -> tuple[int, int]:
        """CHARACTERS a token are assumed, and SHOT tokens an example."""
        asked = max(len(template) for template in self.prompts) + len(self.system)
        longest = max(map(len, (*task.classes, *task.definitions, *task.synonyms)))
        return (asked + longest) // CHARACTERS + SHOT * self.shots, self.max_new_tokens

    def image_cost(self, sampling: SamplingConfig, guidance: GuidanceConfig) -> ImageCost | None:
        """Two operations a parameter and token of a text. None if the model is not here."""
        from dp_real.runtime.model_folders import GGUF, held
        from dp_real.text.packed_models import gguf_parameters

        parameters = gguf_parameters(self.model) if self.model.endswith(GGUF) else held(Path(self.model)).numbers
        if not parameters:
            return None
        template = max(map(len, self.prompts)) // CHARACTERS + SHOT * self.shots
        cost = 2 * parameters * (template + self.max_new_tokens) / 1e12
        weights = parameters * (4 if self.dtype == "float32" else 2)
        return ImageCost(cost, cost, weights, resident=0 if self.offload else weights, kept=0.0)
