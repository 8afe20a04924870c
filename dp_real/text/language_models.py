"""The kinds of language models that are asked for texts."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from dp_base.errors import MissingError
from dp_base.imports import install_command, require_package
from dp_base.progress import Progress, silent
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, GeneratorConfig, ImageCost, TrainedHere
from dp_real.sections import (
    Count,
    GuidanceConfig,
    ModelPlace,
    Requirement,
    Rows,
    SamplingConfig,
    Width,
    not_empty,
    template,
)

if TYPE_CHECKING:
    from dp_real.examples import RealData, Task
    from dp_real.protocols import Generator
    from dp_real.text.models.asked import Prompts

EXAMPLES = "{examples}"  # the place of real examples in a prompt
CHARACTERS = 4  # of a token, about
SHOT = 50  # tokens of a real example in a prompt, about
STAND_IN = "stand-in"
EXTRA = "endpoint"
OWN = ("model", "messages", "prompt", "n", "stream", "logprobs", "top_logprobs", "response_format")
"""Keys of a request that are no parameters of sampling: this package sets them."""

TextTemplates = Annotated[tuple[Annotated[str, AfterValidator(template(EXAMPLES))], ...], AfterValidator(not_empty)]


class AskedConfig(GeneratorConfig):
    """Base of language models that are asked by prompts."""

    has_denoiser: ClassVar[bool] = False
    examples: ClassVar[str | None] = "texts"
    has_likelihood: ClassVar[bool] = True

    prompts: TextTemplates = Field(
        default=("Write a short text about {}.",),
        description="a row's seed picks one; {}: the class; also {definition}, {synonyms}, and {examples} with shots",
    )
    chat: bool
    shots: int = Field(
        default=0,
        ge=0,
        le=100,
        description="real validation examples of the class in a prompt, drawn by the row's seed",
    )
    temperature: float = Field(default=1.0, gt=0, le=100, description="of sampling: lower is likelier and less varied")
    top_p: float = Field(default=1.0, gt=0, le=1, description="draw from the likeliest tokens of this share; 1: all")
    max_new_tokens: Rows = Field(default=128, description="of a text; what would follow is cut off")
    stop: tuple[str, ...] = Field(default=(), description="strings that end a text, and do not belong to it")

    @model_validator(mode="after")
    def _check_prompts(self) -> AskedConfig:
        lacking = [template for template in self.prompts if (EXAMPLES in template) != bool(self.shots)]
        if lacking and self.shots:
            raise ValueError(f"prompt {lacking[0]!r} has no {EXAMPLES}, where shots = {self.shots} examples would go")
        if lacking:
            raise ValueError(f"prompt {lacking[0]!r} has {EXAMPLES}: shots says how many, at least 1")
        if "" in self.stop:
            raise ValueError("stop has an empty string, which would end each text at once")
        return self

    def put(self, source: DataConfig, data: RealData | None) -> Prompts:
        """The prompts come with the real examples that they show."""
        from dp_real.generators import class_prompts
        from dp_real.text.models.asked import Prompts

        task = source.task
        prompts = class_prompts(self.prompts, task.classes, task.definitions, task.synonyms)
        return Prompts(prompts, (data or source.load()).validation if self.shots else None, self.shots)

    @property
    def shows_examples(self) -> bool:
        return self.shots > 0

    def tokens(self, task: Task) -> tuple[int, int]:
        """Assumed are CHARACTERS a token, and SHOT tokens an example."""
        asked = max(len(template) for template in self.prompts)
        longest = max(map(len, (*task.classes, *task.definitions, *task.synonyms)))
        return (asked + longest) // CHARACTERS + SHOT * self.shots, self.max_new_tokens


@GENERATORS.named("causal-lm", place=7)
class CausalLMConfig(AskedConfig):
    """A language model of transformers in a folder or on the hub, asked by prompts (guidance.candidates)."""

    kind: Literal["causal-lm"]
    model: ModelPlace = Field(
        description="a folder, or a hub id, which is fetched unless it is in the hub's cache; 'stand-in': a tiny one, "
        "of random weights, to try",
    )
    chat: bool = Field(default=False, description="put prompts into the tokenizer's chat template, as a user's turn")
    top_k: int = Field(default=0, ge=0, description="draw from so many of the likeliest tokens; 0: all")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(default="float32", description="of its weights")
    batch_size: int = Field(
        default=0, ge=0, le=10**6, description="rows on the GPU at a time, halved when memory runs out; 0: all that fit"
    )
    offload: bool = Field(default=False, description="wait in the CPU's memory while the learner trains")

    @property
    def precision(self) -> str:
        return self.dtype

    @property
    def remedy(self) -> str:
        return "change generator.prompts or stop, or raise generator.max_new_tokens"

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        from dp_real.text.models.causal_lm import CausalLMGenerator

        prompts = self.put(source, data)
        model = self.model
        if model == STAND_IN:
            from dp_real.text.models.stand_in import stand_in_folder

            model = stand_in_folder()
        return CausalLMGenerator(self, model, prompts, source.task.sample_shape[0])

    def weights(self) -> dict[str, str]:
        return {} if self.model == STAND_IN else {"generator.model": self.model}

    def parameters(self) -> int:
        """It is 0 if the model is not here."""
        from dp_real.runtime.model_folders import held

        return held(Path(self.model)).numbers

    def image_cost(self, sampling: SamplingConfig, guidance: GuidanceConfig) -> ImageCost | None:
        """Two operations a parameter and token of a text."""
        parameters = self.parameters()
        if not parameters:
            return None
        template = max(map(len, self.prompts)) // CHARACTERS + SHOT * self.shots
        cost = 2 * parameters * (template + self.max_new_tokens) / 1e12, 0.0
        weights = parameters * (4 if self.dtype == "float32" else 2)
        return ImageCost(cost, cost, weights, resident=0 if self.offload else weights, kept=0.0)


@GENERATORS.named("openai", place=8)
class EndpointConfig(AskedConfig):
    """A language model behind an OpenAI-compatible HTTP API, asked by prompts (guidance.candidates)."""

    may_change: ClassVar[tuple[str, ...]] = ("key", "requests", "token_budget")

    kind: Literal["openai"]
    base_url: str = Field(
        description="of the API, as http://localhost:8000/v1; prompts, and with shots real examples, are sent there"
    )
    model: str = Field(min_length=1, description="what the API calls the model")
    key: str = Field(
        default="",
        description="name of the environment variable with the API's key, such as OPENAI_API_KEY; empty: none is sent",
    )
    chat: bool = Field(default=True, description="ask /chat/completions; false: /completions, for a base model")
    temperature: float = Field(default=1.0, ge=0, le=100, description="of sampling: lower is likelier and less varied")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="further ones of a request, as the API names them, such as { top_k = 50 }; '' leaves one out that "
        "the API refuses, such as { seed = '' }",
    )
    requests: int = Field(default=8, ge=1, le=1000, description="in flight at a time, of one process")
    token_budget: int = Field(
        default=0, ge=0, description="stop once all answers kept of this model took so many tokens; 0: never"
    )

    @model_validator(mode="after")
    def _check(self) -> EndpointConfig:
        if own := sorted(set(OWN) & set(self.parameters)):
            raise ValueError(f"parameters has {own[0]!r}, which is none of sampling: leave it out")
        return self

    @model_validator(mode="after")
    def _check_secrets(self) -> EndpointConfig:
        """A check of the whole section does not show the value, which may be a key."""
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url should begin with http:// or https://, as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("base_url should hold no key: generator.key names the environment variable that does")
        if self.key and not re.fullmatch("[A-Z][A-Z0-9_]*", self.key):
            raise ValueError("key should be the name of an environment variable, in capitals; no file has the key")
        return self

    @property
    def remedy(self) -> str:
        return "change generator.prompts or stop, or raise generator.max_new_tokens"

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        require_package("openai", EXTRA, f"generator.kind = '{self.kind}'")
        if problem := self._key_problem:
            raise MissingError(problem)
        from dp_real.text.models.endpoint import EndpointGenerator

        return EndpointGenerator(self, self.put(source, data), source.task.classes, source.task.sample_shape[0])

    @property
    def _key_problem(self) -> str | None:
        if not self.key or os.environ.get(self.key, "").strip():
            return None
        return f"generator.key = '{self.key}': that environment variable is not set: it should hold the key of the API"

    def requirements(self) -> list[Requirement]:
        from importlib.util import find_spec

        from dp_real.text.models.answers import Answers

        lacks = None if find_spec("openai") else f"generator.kind = 'openai' needs openai: {install_command(EXTRA)}"
        key = f"from ${self.key}" if self.key else "none is sent"
        return [
            Requirement("package", "openai", lacks),
            Requirement("generator.base_url", f"{self.base_url}, key: {key}", self._key_problem),
            Requirement("answers", Answers.said(self.base_url, self.model)),
        ]

    def judged_tokens(self, task: Task) -> int:
        from dp_real.text.models.asked import JUDGE

        return (len(JUDGE) + sum(map(len, task.classes))) // CHARACTERS + self.max_new_tokens


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

        keys = tuple(key for key in type(self).model_fields if key != "temperature")
        model = self.trained_module(source, examples, progress, make, train_char_lm, keys)
        return CharLMGenerator(model, task.sample_shape[0], task.n_classes, self.temperature)

    def training_seconds(self, task: Task) -> float:
        """As measured on one core with the default sizes."""
        return 2e-9 * self.train_steps * 128 * task.sample_shape[0] * self.width**1.5
