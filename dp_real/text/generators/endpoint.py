"""Any language model behind an OpenAI-compatible HTTP API: vLLM, Ollama, llama.cpp, transformers serve, hosted ones."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from dp_base.errors import MissingError
from dp_base.extras import install_command, require_package
from dp_base.progress import Progress, silent
from dp_real.data import DataConfig
from dp_real.generators import GENERATORS, GeneratorConfig, Requirement
from dp_real.sections import Rows, SamplingConfig
from dp_real.text.templates import EXAMPLES, TextTemplates

if TYPE_CHECKING:
    from dp_real.examples import RealData, Task
    from dp_real.protocols import Generator

CHARACTERS = 4  # of a token, about
SHOT = 50  # tokens of a real example in a prompt, about
EXTRA = "endpoint"
OWN = ("model", "messages", "prompt", "n", "stream", "logprobs", "top_logprobs", "response_format")
"""Keys of a request that are no parameters of sampling: this package sets them."""


def with_text(question: str) -> str:
    """The judge's question, if it has a place for the text and one for the classes. Raises ValueError otherwise."""
    if "{text}" not in question or "{classes}" not in question:
        raise ValueError("should have {text} and {classes}, where the text and the names of the classes go")
    return question


@GENERATORS.named("openai", place=8)
class EndpointConfig(GeneratorConfig):
    """A language model behind an OpenAI-compatible HTTP API, asked by prompts (guidance.candidates)."""

    has_denoiser: ClassVar[bool] = False
    examples: ClassVar[str | None] = "texts"
    has_likelihood: ClassVar[bool] = True
    may_change: ClassVar[tuple[str, ...]] = (
        *("key", "requests", "timeout", "retries"),
        *("token_budget", "money_budget", "prompt_price", "completion_price"),
    )

    kind: Literal["openai"]
    base_url: str = Field(
        description="of the API, as http://localhost:8000/v1; prompts, and with shots real examples, are sent there"
    )
    model: str = Field(min_length=1, description="what the API calls the model")
    key: str = Field(
        default="",
        description="name of the environment variable with the API's key, such as OPENAI_API_KEY; empty: none is sent",
    )
    prompts: TextTemplates = Field(
        default=("Write a short text about {}.",),
        description="a row's seed picks one; {}: the class; also {definition}, {synonyms}, and {examples} with shots",
    )
    chat: bool = Field(default=True, description="ask /chat/completions; false: /completions, for a base model")
    system: str = Field(default="", description="the chat's system message; none if it is empty")
    shots: int = Field(
        default=0,
        ge=0,
        le=100,
        description="real validation examples of the class in a prompt, drawn by the row's seed",
    )
    temperature: float = Field(default=1.0, ge=0, le=100, description="of sampling: lower is likelier and less varied")
    top_p: float = Field(default=1.0, gt=0, le=1, description="draw from the likeliest tokens of this share; 1: all")
    max_new_tokens: Rows = Field(default=128, description="of a text; what would follow is cut off")
    stop: tuple[str, ...] = Field(default=(), description="strings that end a text, and do not belong to it")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="further ones of a request, as the API names them, such as { top_k = 50 }"
    )
    leave_out: tuple[str, ...] = Field(
        default=(), description="parameters that the API refuses, such as 'seed' or 'max_tokens'"
    )
    refusals: tuple[str, ...] = Field(
        default=(), description="beginnings of answers that are refusals: they are drawn again, as empty ones are"
    )
    judge: Annotated[str, AfterValidator(with_text)] = Field(
        default="{text}\n\nWhich of these is the text above?\n{classes}",
        description="the question that asks for the class of a {text}, for pool.soft_labels and likelihood_weight",
    )
    judgement: Literal["logprobs", "json"] = Field(
        default="logprobs", description="the answer to it: a letter, by its log-probabilities, or probabilities as JSON"
    )
    requests: int = Field(default=8, ge=1, le=1000, description="in flight at a time, of one process")
    timeout: float = Field(default=120.0, gt=0, le=86400, description="seconds until a request is given up")
    retries: int = Field(
        default=6, ge=0, le=1000, description="of a request that failed, after pauses that grow, or as Retry-After says"
    )
    token_budget: int = Field(
        default=0, ge=0, description="stop once all answers kept of this model took so many tokens; 0: never"
    )
    money_budget: float = Field(default=0.0, ge=0, description="stop once they cost so much, by the prices; 0: never")
    prompt_price: float = Field(default=0.0, ge=0, description="of a million tokens of prompts")
    completion_price: float = Field(default=0.0, ge=0, description="of a million tokens that are written")

    @model_validator(mode="after")
    def _check(self) -> EndpointConfig:
        lacking = [template for template in self.prompts if (EXAMPLES in template) != bool(self.shots)]
        if lacking and self.shots:
            raise ValueError(f"prompt {lacking[0]!r} has no {EXAMPLES}, where shots = {self.shots} examples would go")
        if lacking:
            raise ValueError(f"prompt {lacking[0]!r} has {EXAMPLES}: shots says how many, at least 1")
        if self.system and not self.chat:
            raise ValueError("system is a chat's message: set chat = true")
        if "" in (*self.stop, *self.refusals):
            raise ValueError("stop or refusals has an empty string, with which each text begins")
        if own := sorted(set(OWN) & set(self.parameters)):
            raise ValueError(f"parameters has {own[0]!r}, which is none of sampling: leave it out")
        if self.money_budget and not (self.prompt_price or self.completion_price):
            raise ValueError("money_budget needs prompt_price and completion_price")
        return self

    @model_validator(mode="after")
    def _check_secrets(self) -> EndpointConfig:
        """Raise ValueError for what may be a key. A check of the whole section does not show the value."""
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
        return "change generator.prompts, stop or refusals, or raise generator.max_new_tokens"

    def load(
        self, sampling: SamplingConfig, source: DataConfig, data: RealData | None = None, progress: Progress = silent
    ) -> Generator:
        """Nothing is asked yet. Real examples are needed for prompts with examples only.

        Raises MissingError without the package openai, or without the key.
        """
        require_package("openai", EXTRA, f"generator.kind = '{self.kind}'")
        if problem := self._key_problem:
            raise MissingError(problem)
        from dp_real.generators.models.prompts import class_prompts
        from dp_real.text.models.endpoint import EndpointGenerator

        task = source.task
        prompts = class_prompts(self.prompts, task.classes, task.definitions, task.synonyms)
        shown = (data or source.load()).validation if self.shots else None
        return EndpointGenerator(self, prompts, task.classes, task.sample_shape[0], shown)

    @property
    def _key_problem(self) -> str | None:
        if not self.key or os.environ.get(self.key, "").strip():
            return None
        return f"generator.key = '{self.key}': that environment variable is not set: it should hold the key of the API"

    def requirements(self) -> list[Requirement]:
        """The package, the key, and what was answered already."""
        from importlib.util import find_spec

        from dp_real.text.models.answers import Answers

        lacks = None if find_spec("openai") else f"generator.kind = 'openai' needs openai: {install_command(EXTRA)}"
        key = f"from ${self.key}" if self.key else "none is sent"
        return [
            Requirement("package", "openai", lacks),
            Requirement("generator.base_url", f"{self.base_url}, key: {key}", self._key_problem),
            Requirement("answers", Answers.said(self.base_url, self.model)),
        ]

    @property
    def shows_examples(self) -> bool:
        return self.shots > 0

    def tokens(self, task: Task) -> tuple[int, int]:
        """CHARACTERS a token are assumed, and SHOT tokens an example."""
        asked = max(len(template) for template in self.prompts) + len(self.system)
        longest = max(map(len, (*task.classes, *task.definitions, *task.synonyms)))
        return (asked + longest) // CHARACTERS + SHOT * self.shots, self.max_new_tokens

    def judged_tokens(self, task: Task) -> int:
        """The question with the text, once."""
        return (len(self.judge) + sum(map(len, task.classes))) // CHARACTERS + self.max_new_tokens

    def money(self, read: int, written: int) -> float | None:
        if not (self.prompt_price or self.completion_price):
            return None
        return (read * self.prompt_price + written * self.completion_price) / 1e6
