"""A language model behind an HTTP API as a Generator of texts, asked by prompts."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float64, Int32, Int64, UInt64
from torch import Tensor

from dp_base.errors import InputError
from dp_real.data.sets.class_names import warn_once
from dp_real.examples import ExampleSet
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.finite import LARGEST_SHARE
from dp_real.runtime.seeds import Stream, rng
from dp_real.text.codes import to_codes, to_texts
from dp_real.text.models.answers import Answer, Answers, without_thoughts
from dp_real.text.models.asking import CHAT, Asking, EndpointSettings, Question

LARGEST_SEED = 2**31  # of a request: APIs take them below this
TOP = 20  # log-probabilities that APIs give at most
LEAST = 1e-6  # of a probability that a model states: none is sure
ONE_LETTER = "Answer with the letter alone."
AS_JSON = "Answer with a JSON object that has the probability of each."


class EndpointPrompts(EndpointSettings, Protocol):
    """How prompts are put."""

    chat: bool
    system: str
    shots: int
    temperature: float
    top_p: float
    max_new_tokens: int
    stop: tuple[str, ...]
    refusals: tuple[str, ...]
    parameters: dict[str, Any]
    leave_out: tuple[str, ...]
    judge: str
    judgement: Literal["logprobs", "json"]


class EndpointGenerator:
    """Texts of a language model behind an HTTP API. A row's seed picks its prompt and its examples, and is sent.

    An answer is kept in the user's cache, so that a row is a function of its label and its seed, even where the API is
    not. Texts have `length` characters at most. Prompts show examples of `shown`, or none.
    """

    def __init__(
        self,
        config: EndpointPrompts,
        prompts: Sequence[Sequence[str]],
        classes: Sequence[str],
        length: int,
        shown: ExampleSet | None,
    ) -> None:
        self.config = config
        self.prompts = prompts
        self.classes = classes
        self.shown = shown
        self.sample_shape = (length,)
        self.n_classes = len(classes)
        self.answers = Answers(config.base_url, config.model)
        self.members = [] if shown is None else [(shown.y == label).nonzero()[:, 0] for label in range(self.n_classes)]

    def sample(
        self,
        labels: Int64[Tensor, " batch"],
        seeds: UInt64[np.ndarray, " batch"],
        guidance: EntropyGuidance | None,
    ) -> Int32[Tensor, "batch characters"]:
        """A refusal, and an answer that was cut off, is an empty text.

        Raises Interrupted once the budget is spent, InputError if guidance is asked for or if the API refuses a
        request, and MissingError if it does not answer.
        """
        if guidance is not None:
            raise InputError("tokens are discrete: they cannot be guided, but chosen among (guidance.candidates)")
        asked = [self.question(label, int(seed)) for label, seed in zip(labels.tolist(), seeds, strict=True)]
        answers = self._ask(asked)
        self._say_what_is_lost(answers)
        return to_codes([self._text(answer) for answer in answers], self.sample_shape[0])

    def _say_what_is_lost(self, answers: Sequence[Answer]) -> None:
        """Warn, once each, if many answers of a block have thoughts or were cut off."""
        thoughts = sum(answer.has_thoughts for answer in answers)
        cut = sum(answer.cut for answer in answers)
        most = f"generator.max_new_tokens = {self.config.max_new_tokens}"
        for count, what in (
            (thoughts, f"have thoughts, which are dropped; those without an end are drawn again: raise {most}"),
            (cut, f"are cut off, and are drawn again: raise {most}"),
        ):
            if count > LARGEST_SHARE * len(answers):
                warn_once(f"generator.model = '{self.config.model}': more than a tenth of a block's answers {what}")

    def _ask(self, questions: Sequence[Question]) -> list[Answer]:
        with self.answers.opened():
            return asyncio.run(Asking(self.config, self.answers).ask(questions))

    def prompt(self, label: int, seed: int) -> str:
        several = self.prompts[label]
        prompt = several[seed % len(several)]
        if self.shown is None:
            return prompt
        rows = self.members[label]
        chosen = rng(seed, Stream.CHOICE).permutation(len(rows))[: self.config.shots]
        texts = [to_texts(self.shown.x[row : row + 1])[0] for row in rows[chosen].tolist()]
        return prompt.replace("{examples}", "\n\n".join(texts))

    def question(self, label: int, seed: int) -> Question:
        config = self.config
        body: dict[str, Any] = {
            "temperature": config.temperature,
            "top_p": config.top_p,
            "max_tokens": config.max_new_tokens,
            "seed": seed % LARGEST_SEED,
        }
        if config.stop:
            body["stop"] = list(config.stop)
        prompt = self.prompt(label, seed)
        if not config.chat:
            return Question("/completions", self._complete({"prompt": prompt} | body), seed)
        system = [{"role": "system", "content": config.system}] if config.system else []
        messages = [*system, {"role": "user", "content": prompt}]
        return Question(CHAT, self._complete({"messages": messages} | body), seed)

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request with the model and the user's parameters, without those that the API refuses."""
        whole = {"model": self.config.model} | self.config.parameters | body
        return {key: value for key, value in whole.items() if key not in self.config.leave_out}

    def _text(self, answer: Answer) -> str:
        """The text behind thoughts and before the first stop string; empty if it is a refusal, or was cut off."""
        text = without_thoughts(answer.text)
        if text.startswith(self.config.refusals):
            return ""
        ends = [text.find(stop) for stop in self.config.stop if stop in text]
        if answer.cut and not ends:
            return ""
        return text[: min(ends, default=len(text))].strip()

    def log_posterior(self, x: Int32[Tensor, "batch characters"]) -> Float64[Tensor, "batch classes"]:
        """The model is asked which class a text is of.

        Raises InputError if the API gives no log-probabilities, or if there are more classes than it gives some for.
        """
        as_json = self.config.judgement == "json"
        if not as_json and self.n_classes > TOP:
            raise InputError(
                f"an API gives {TOP} log-probabilities at most, and there are {self.n_classes} classes: set "
                "generator.judgement = 'json'"
            )
        answers = self._ask([self.judging(text) for text in to_texts(x)])
        read = self._stated if as_json else self._by_letter
        return torch.stack([read(answer) for answer in answers])

    def judging(self, text: str) -> Question:
        as_json = self.config.judgement == "json"
        marked = [
            f"- {name}" if as_json else f"{mark}. {name}" for mark, name in zip(self._marks, self.classes, strict=True)
        ]
        before, _, after = self.config.judge.partition("{text}")  # a text may have {classes} in it
        asked = text.join(part.replace("{classes}", "\n".join(marked)) for part in (before, after))
        messages = [{"role": "user", "content": f"{asked}\n{AS_JSON if as_json else ONE_LETTER}"}]
        body: dict[str, Any] = {"messages": messages, "temperature": 0, "seed": 0}
        if as_json:
            return Question(CHAT, self._complete(body | {"max_tokens": 16 * self.n_classes, **self._schema}))
        return Question(CHAT, self._complete(body | {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP}))

    @property
    def _marks(self) -> Sequence[str]:
        return self.classes if self.config.judgement == "json" else ascii_uppercase[: self.n_classes]

    @property
    def _schema(self) -> dict[str, Any]:
        """This makes an API answer with a JSON object of a number for each class."""
        schema = {
            "type": "object",
            "properties": {name: {"type": "number"} for name in self.classes},
            "required": list(self.classes),
            "additionalProperties": False,
        }
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "classes", "schema": schema}}}

    def _by_letter(self, answer: Answer) -> Float64[Tensor, " classes"]:
        """A class whose letter is not listed is as likely as the last one that is."""
        if not answer.top:
            raise InputError(
                f"generator.base_url = '{self.config.base_url}' gives no log-probabilities: set generator.judgement = "
                "'json', or pool.soft_labels = false and guidance.likelihood_weight = 0"
            )
        least = min(answer.top.values())
        found = [
            [logprob for token, logprob in answer.top.items() if token.strip() == mark] or [least]
            for mark in self._marks
        ]
        sums = [torch.logsumexp(torch.tensor(each, dtype=torch.float64), 0) for each in found]
        return torch.stack(sums).log_softmax(0)

    def _stated(self, answer: Answer) -> Float64[Tensor, " classes"]:
        """An answer without probabilities says nothing: all classes are as likely."""
        weights = stated_weights(without_thoughts(answer.text), self.classes) or [1.0] * self.n_classes
        return (torch.tensor(weights, dtype=torch.float64) / sum(weights)).log()

    def offload(self) -> None:
        """Nothing is held here."""


def stated_weights(text: str, classes: Sequence[str]) -> list[float] | None:
    """The weight that a JSON object states for each class, at least LEAST of their sum."""
    try:
        stated = json.loads(text)
        weights = [float(stated[name]) for name in classes]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    total = sum(weights)
    if not math.isfinite(total) or total <= 0 or min(weights) < 0:
        return None
    return [max(weight, LEAST * total) for weight in weights]
