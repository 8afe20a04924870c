import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from dp_base.errors import Finding, MissingError
from dp_base.imports import install_command
from dp_base.progress import Progress, silent
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, GeneratorConfig, ImageCost, TrainedHere
from dp_real.guidance.section import GuidanceConfig, SamplingConfig
from dp_real.runtime.connection import connection_problem
from dp_real.runtime.section import ModelPlace, Rows, not_empty, template

if TYPE_CHECKING:
    from dp_real.data.examples import RealData, Task
    from dp_real.protocols import Generator

EXAMPLES = "{examples}"  # the place of real examples in a prompt
CHARACTERS = 4  # of a token, about
SHOT = 50  # tokens of a real example in a prompt, about
STAND_IN = "stand-in"
OWN = ("model", "messages", "prompt", "n", "stream", "logprobs", "top_logprobs", "response_format")
"""Keys of a request that are no parameters of sampling: this package sets them."""
KEYS = {  # what sets parameters of a request
    "temperature": "generator.temperature",
    "top_p": "generator.top_p",
    "max_tokens": "generator.max_new_tokens",
    "seed": "the row's own seed",
}

TextTemplates = Annotated[tuple[Annotated[str, AfterValidator(template(EXAMPLES))], ...], AfterValidator(not_empty)]
Temperature = Annotated[float, Field(le=100, description="of sampling: lower is likelier and less varied")]


class PromptedConfig(GeneratorConfig):
    """Base of language models that are asked by prompts."""

    has_denoiser: ClassVar[bool] = False
    examples: ClassVar[str | None] = "texts"

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
    temperature: Temperature = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1, description="draw from the likeliest tokens of this share; 1: all")
    max_new_tokens: Rows = Field(default=128, description="of a text; what would follow is cut off")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="strings that end a text, and do not belong to it"
    )

    @model_validator(mode="after")
    def _check_prompts(self) -> "PromptedConfig":
        for prompt in self.prompts:
            if (EXAMPLES in prompt) != bool(self.shots):
                wrong = "has no" if self.shots else "has"
                raise ValueError(f"prompt {prompt!r} {wrong} {EXAMPLES}, and shots = {self.shots}")
        return self

    @property
    def remedy(self) -> str:
        return "nothing, refusals, or cut off: change generator.prompts or stop, or raise generator.max_new_tokens"

    @property
    def shows_examples(self) -> bool:
        return self.shots > 0

    def tokens(self, task: "Task") -> tuple[int, int]:
        """Assumed are CHARACTERS a token, and SHOT tokens an example."""
        longest = max(map(len, (*task.classes, *task.definitions, *task.synonyms)))
        return self._prompt_tokens(longest), self.max_new_tokens

    def _prompt_tokens(self, more: int = 0) -> int:
        return (max(map(len, self.prompts)) + more) // CHARACTERS + SHOT * self.shots


@GENERATORS.named("causal-lm", place=7)
class CausalLMConfig(PromptedConfig):
    """A language model of transformers, asked by prompts (guidance.candidates)."""

    has_likelihood: ClassVar[bool] = True

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

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None, progress: Progress = silent
    ) -> "Generator":
        from dp_real.text.models.causal_lm import CausalLMGenerator, stand_in_folder

        return CausalLMGenerator(self, stand_in_folder() if self.model == STAND_IN else self.model, source, data)

    def weights(self) -> dict[str, str]:
        return {} if self.model == STAND_IN else {"generator.model": self.model}

    def image_cost(self, sampling: SamplingConfig, guidance: GuidanceConfig) -> ImageCost | None:
        """Two operations a parameter and token of a text; None if the model is not here."""
        from dp_real.runtime.model_folders import held

        parameters = held(Path(self.model)).numbers
        if not parameters:
            return None
        cost = 2 * parameters * (self._prompt_tokens() + self.max_new_tokens) / 1e12
        return ImageCost(cost, cost)


@GENERATORS.named("openai", place=8)
class EndpointConfig(PromptedConfig):
    """A language model behind an OpenAI-compatible HTTP API."""

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
    temperature: Temperature = Field(default=1.0, ge=0)
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
    def _check(self) -> "EndpointConfig":
        """No message shows base_url or key, which may hold a key."""
        if own := sorted(set(OWN) & set(self.parameters)):
            raise ValueError(f"parameters has {own[0]!r}, which is none of sampling: leave it out")
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url should begin with http:// or https://, as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("base_url should hold no key: generator.key names the environment variable that does")
        if self.key and not re.fullmatch("[A-Z][A-Z0-9_]*", self.key):
            raise ValueError("key should be the name of an environment variable, in capitals; no file has the key")
        return self

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None, progress: Progress = silent
    ) -> "Generator":
        for need in self.requirements():
            if need.problem:
                raise MissingError(need.problem)
        from dp_real.text.models.endpoint import EndpointGenerator

        return EndpointGenerator(self, source, data)

    def requirements(self) -> list[Finding]:
        from importlib.util import find_spec

        from dp_real.text.models.answers import Answers

        lacks = unset = None
        if not find_spec("openai"):
            lacks = f"generator.kind = 'openai' needs openai: {install_command('endpoint')}"
        else:
            lacks = connection_problem(self.base_url)
        if self.key and not os.environ.get(self.key, "").strip():
            key = f"generator.key = '{self.key}'"
            unset = f"{key}: that environment variable is not set: it should hold the key of the API"
        twice = next((key for key in KEYS if self.parameters.get(key, "") != ""), "")
        parameters = f"generator.parameters has {twice!r}, which {KEYS.get(twice)} says: leave it out"
        answers = Answers(self.base_url, self.model)
        answers.take_in()
        return [
            *([Finding("generator.parameters", twice, parameters)] if twice else []),
            Finding("package", "openai", lacks),
            Finding("generator.base_url", f"{self.base_url}, key: {self.key or 'none is sent'}", unset),
            Finding("answers", f"{len(answers.by_question):,} kept, of {answers.tokens:,} tokens"),
        ]


class CharLMSizes(NamedTuple):
    """Of its recurrent layer and training; the rate falls to 0."""

    width: int
    train_steps: int
    train_learning_rate: float = 4e-3


CHAR_LMS = {"full": CharLMSizes(192, 3000), "light": CharLMSizes(32, 60), "none": CharLMSizes(32, 2)}


@GENERATORS.named("char-lm", place=6)
class CharLMConfig(TrainedHere):
    """A small language model of characters, trained here on first use."""

    has_denoiser: ClassVar[bool] = False
    examples: ClassVar[str | None] = "texts"
    has_likelihood: ClassVar[bool] = True
    recipe: ClassVar[int] = 1

    kind: Literal["char-lm"]
    temperature: Temperature = Field(default=1.0, gt=0)

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None, progress: Progress = silent
    ) -> "Generator":
        from dp_real.text.models.char_lm import CharLM, CharLMGenerator, known_characters, train_char_lm

        examples, sizes = self.imitated(source, data), CHAR_LMS[self.training]
        task = source.task

        def make() -> CharLM:
            return CharLM(known_characters(examples.x), task.n_classes, sizes.width)

        model = self.trained_module(source, examples, progress, make, train_char_lm, sizes)
        return CharLMGenerator(model, task.sample_shape[0], task.n_classes, self.temperature)

    def training_seconds(self, task: "Task") -> float:
        """With the default sizes."""
        sizes = CHAR_LMS[self.training]
        return 2e-9 * sizes.train_steps * 128 * task.sample_shape[0] * sizes.width**1.5
