import os
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from dp_base.errors import Finding, MissingError
from dp_base.imports import extra_problem, install_command
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, GeneratorConfig, ImageCost, TrainedHere
from dp_real.guidance.section import GuidanceConfig, SamplingConfig
from dp_real.runtime.connection import connection_problem
from dp_real.runtime.section import ModelPlace, Rows, not_empty, template

if TYPE_CHECKING:
    from dp_real.data.examples import RealData, Task
    from dp_real.protocols import Generator

EXAMPLES = "{examples}"  # the placeholder of real examples in a prompt
CHARACTERS = 4  # about, per token
SHOT = 50  # about the tokens of a real example in a prompt
STAND_IN = "stand-in"
OWN = ("model", "messages", "prompt", "n", "stream", "logprobs", "top_logprobs", "response_format")
"""Keys of a request that are not sampling parameters, but set by this package."""
KEYS = {  # what sets these parameters of a request
    "temperature": "generator.temperature",
    "top_p": "generator.top_p",
    "max_tokens": "generator.max_new_tokens",
    "stop": "generator.stop",
    "seed": "the row's own seed",
}

TextTemplates = Annotated[tuple[Annotated[str, AfterValidator(template(EXAMPLES))], ...], AfterValidator(not_empty)]
Temperature = Annotated[float, Field(le=100, description="of sampling; lower: more likely and less varied texts")]


class PromptedConfig(GeneratorConfig):
    """Base of language models that are prompted."""

    has_denoiser: ClassVar[bool] = False
    modality: ClassVar[str | None] = "text"

    prompts: TextTemplates = Field(
        default=("Write a short text about {}.",),
        description="templates, one of which a row's seed selects; {}: the class; also {definition}, {synonyms}, "
        "and with shots {examples}",
    )
    chat: bool
    shots: int = Field(
        default=0,
        ge=0,
        le=100,
        description="real validation examples of the class in a prompt, drawn by the row's seed",
    )
    temperature: Temperature = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1, description="draw from the top tokens of this probability; 1: all")
    max_new_tokens: Rows = Field(default=128, description="of a text, which is cut there")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="strings that end a text, without being part of it"
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
        return "no text, refusals, or cut off: change generator.prompts or stop, or raise generator.max_new_tokens"

    @property
    def shows_examples(self) -> bool:
        return self.shots > 0

    def tokens(self, task: "Task") -> tuple[int, int]:
        """Estimates with CHARACTERS per token and SHOT tokens per example."""
        longest = max(map(len, (*task.classes, *task.definitions, *task.synonyms)))
        return self._prompt_tokens(longest), self.max_new_tokens

    def _prompt_tokens(self, more: int = 0) -> int:
        return (max(map(len, self.prompts)) + more) // CHARACTERS + SHOT * self.shots


@GENERATORS.named("causal-lm", place=7)
class CausalLMConfig(PromptedConfig):
    """A language model of transformers, which is prompted (guidance.candidates)."""

    has_likelihood: ClassVar[bool] = True

    kind: Literal["causal-lm"]
    model: ModelPlace = Field(
        description="a folder, or a hub id, which is fetched unless it is in the hub's cache; 'stand-in': a tiny one, "
        "of random weights, to try",
    )
    chat: bool = Field(default=False, description="put prompts into the tokenizer's chat template, as the user's turn")
    top_k: int = Field(default=0, ge=0, description="draw from this many of the top tokens; 0: all")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(default="float32", description="of its weights")
    batch_size: int = Field(
        default=0, ge=0, le=10**6, description="rows on the GPU at a time; halved when memory runs out; 0: all that fit"
    )

    def load(self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None) -> "Generator":
        from dp_real.text.models.causal_lm import CausalLMGenerator, stand_in_folder

        return CausalLMGenerator(self, stand_in_folder() if self.model == STAND_IN else self.model, source, data)

    def weights(self) -> dict[str, str]:
        return {} if self.model == STAND_IN else {"generator.model": self.model}

    def image_cost(self, sampling: SamplingConfig, guidance: GuidanceConfig) -> ImageCost | None:
        """Two operations per parameter and token of a text; None if the model is missing."""
        from dp_real.runtime.model_folders import local_folder, size_of

        folder = local_folder(self.model)
        if not (parameters := size_of(folder) if folder else 0):
            return None
        cost = 2 * parameters * (self._prompt_tokens() + self.max_new_tokens) / 1e12
        return ImageCost(cost, cost)


@GENERATORS.named("openai", place=8)
class EndpointConfig(PromptedConfig):
    """A language model behind an OpenAI-compatible HTTP API."""

    may_change: ClassVar[tuple[str, ...]] = ("key", "requests", "token_budget")

    kind: Literal["openai"]
    base_url: str = Field(
        description="of the API, e.g. http://localhost:8000/v1; prompts, and with shots real examples, are sent there"
    )
    model: str = Field(min_length=1, description="the API's name of the model")
    key: str = Field(
        default="",
        description="name of the environment variable with the API's key, e.g. OPENAI_API_KEY; empty: no key is sent",
    )
    chat: bool = Field(default=True, description="use /chat/completions; false: /completions, for a base model")
    temperature: Temperature = Field(default=1.0, ge=0)
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="further parameters of a request, in the API's names, such as { top_k = 50 }; '' omits one that "
        "the API refuses, such as { seed = '' }",
    )
    requests: int = Field(default=8, ge=1, le=1000, description="requests in flight at a time, per process")
    token_budget: int = Field(
        default=0, ge=0, description="stop when all stored answers of this model have taken this many tokens; 0: never"
    )

    @model_validator(mode="after")
    def _check(self) -> "EndpointConfig":
        """Messages never show base_url or key, which may hold a secret."""
        if own := sorted(set(OWN) & set(self.parameters)):
            raise ValueError(f"parameters has {own[0]!r}, which is not a sampling parameter: leave it out")
        if twice := [key for key in KEYS if self.parameters.get(key, "") != ""]:
            raise ValueError(f"parameters has {twice[0]!r}, which {KEYS[twice[0]]} sets: leave it out")
        try:
            parts = urlsplit(self.base_url)
            is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # of an address or a port that cannot be
            is_url, parts = False, urlsplit("")
        if not (is_url and self.base_url.isprintable()):
            raise ValueError("base_url should be like http://localhost:8000/v1: http or https, and a port up to 65535")
        if parts.username or parts.password or parts.query:
            raise ValueError("base_url should hold no key: generator.key names the environment variable that does")
        if self.key and not re.fullmatch("[A-Z][A-Z0-9_]*", self.key):
            raise ValueError("key should be the name of an environment variable, in capitals; no file holds the key")
        return self

    def load(self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None) -> "Generator":
        for need in self.requirements():
            if need.problem:
                raise MissingError(need.problem)
        from dp_real.text.models.endpoint import EndpointGenerator

        return EndpointGenerator(self, source, data)

    def requirements(self) -> list[Finding]:
        from dp_real.text.models.answers import Answers

        # A checkout that is not installed knows of no extras.
        lack = None if find_spec("openai") else f"generator.kind = 'openai' needs openai: {install_command('endpoint')}"
        lacks = extra_problem("endpoint", "generator.kind = 'openai'") or lack or connection_problem(self.base_url)
        unset = None
        if self.key and not os.environ.get(self.key, "").strip():
            unset = f"generator.key = '{self.key}': that environment variable is not set: it should hold the API's key"
        answers = Answers(self.base_url, self.model)
        answers.take_in()
        return [
            Finding("package", "openai", lacks),
            Finding("generator.base_url", f"{self.base_url}, key: {self.key or 'none is sent'}", unset),
            Finding("answers", f"{len(answers.by_question):,} stored, of {answers.tokens:,} tokens"),
        ]


class CharLMSizes(NamedTuple):
    """Sizes of recurrent layer and training; the learning rate falls to 0."""

    width: int
    train_steps: int
    train_learning_rate: float = 4e-3


CHAR_LMS = {"full": CharLMSizes(192, 3000), "light": CharLMSizes(32, 60), "none": CharLMSizes(32, 2)}


@GENERATORS.named("char-lm", place=6)
class CharLMConfig(TrainedHere):
    """A small language model of characters, trained here on first use."""

    has_denoiser: ClassVar[bool] = False
    modality: ClassVar[str | None] = "text"
    has_likelihood: ClassVar[bool] = True
    recipe: ClassVar[int] = 1

    kind: Literal["char-lm"]
    temperature: Temperature = Field(default=1.0, gt=0)

    def load(self, sampling: SamplingConfig, source: DataConfig, data: "RealData | None" = None) -> "Generator":
        from dp_real.text.models.char_lm import CharLM, CharLMGenerator, known_characters, train_char_lm

        examples, sizes = self.training_examples(source, data), CHAR_LMS[self.training]
        task = source.task

        def make() -> CharLM:
            return CharLM(known_characters(examples.x), task.n_classes, sizes.width)

        model = self.trained_module(source, examples, make, train_char_lm, sizes)
        return CharLMGenerator(model, task.sample_shape[0], task.n_classes, self.temperature)

    def training_seconds(self, task: "Task") -> float:
        """Measured with default sizes."""
        sizes = CHAR_LMS[self.training]
        return 2e-9 * sizes.train_steps * 128 * task.sample_shape[0] * sizes.width**1.5
