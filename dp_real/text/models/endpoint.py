"""A language model behind an HTTP API, asked by prompts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float64, Int32
from torch import Tensor

from dp_base.errors import InputError
from dp_real.data.sets.class_names import warn_once
from dp_real.runtime.finite import LARGEST_SHARE
from dp_real.text.codes import to_codes, to_texts
from dp_real.text.models.answers import Answer, Answers, without_thoughts
from dp_real.text.models.asked import JUDGE, AskedGenerator, Prompts
from dp_real.text.models.asking import CHAT, Asking, Question

if TYPE_CHECKING:
    from dp_real.text.language_models import EndpointConfig

LARGEST_SEED = 2**31  # of a request: APIs take them below this
TOP = 20  # log-probabilities that APIs give at most
INSTEAD = "set pool.soft_labels = false and guidance.likelihood_weight = 0"


class EndpointGenerator(AskedGenerator):
    """Texts of an endpoint, to which a row's seed is sent.

    Answers are kept in the user's cache, so that a row is a function of its label and seed, even where the API is not.
    """

    def __init__(self, config: EndpointConfig, prompts: Prompts, classes: Sequence[str], length: int) -> None:
        super().__init__(prompts, length)
        self.config = config
        self.classes = classes
        self.answers = Answers(config.base_url, config.model)

    def written(self, labels: Tensor, seeds: np.ndarray) -> Tensor:
        """A refusal, and an answer that was cut off, is an empty text."""
        asked = [self.question(label, seed) for label, seed in zip(labels.tolist(), seeds.tolist(), strict=True)]
        answers = self._ask(asked)
        self._say_what_is_lost(answers)
        return to_codes([self._text(answer) for answer in answers], self.sample_shape[0])

    def _say_what_is_lost(self, answers: Sequence[Answer]) -> None:
        """Warn, once each, of many thoughts or answers that were cut off."""
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
        prompt = self.prompts.of(label, seed)
        if not config.chat:
            return Question("/completions", self._complete({"prompt": prompt} | body), seed)
        return Question(CHAT, self._complete({"messages": self.turns(prompt)} | body), seed)

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """With the user's parameters, without those that the API refuses."""
        parameters = self.config.parameters
        whole = {"model": self.config.model} | parameters | body
        return {key: value for key, value in whole.items() if parameters.get(key) != ""}

    def _text(self, answer: Answer) -> str:
        """The text behind thoughts and before the first stop string; empty for a refusal."""
        text = without_thoughts(answer.text)
        is_cut_off = answer.cut and not any(stop in text for stop in self.config.stop)
        return "" if is_cut_off else self.cut(text)

    def log_posterior(self, x: Int32[Tensor, "batch characters"]) -> Float64[Tensor, "batch classes"]:
        """The model is asked for each text's class, by a letter's log-probability."""
        if self.n_classes > TOP:
            raise InputError(
                f"an API gives {TOP} log-probabilities at most, and there are {self.n_classes} classes: {INSTEAD}"
            )
        return torch.stack(
            [self._by_letter(answer) for answer in self._ask([self.judging(text) for text in to_texts(x)])]
        )

    def judging(self, text: str) -> Question:
        marked = "\n".join(f"{mark}. {name}" for mark, name in zip(self._letters, self.classes, strict=True))
        before, _, after = JUDGE.partition("{text}")  # a text may have {classes} in it
        asked = text.join(part.replace("{classes}", marked) for part in (before, after))
        body: dict[str, Any] = {"messages": [{"role": "user", "content": asked}], "temperature": 0, "seed": 0}
        return Question(CHAT, self._complete(body | {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP}))

    @property
    def _letters(self) -> str:
        return ascii_uppercase[: self.n_classes]

    def _by_letter(self, answer: Answer) -> Float64[Tensor, " classes"]:
        """A class whose letter is not listed is as likely as the last one that is."""
        if not answer.top:
            raise InputError(f"generator.base_url = '{self.config.base_url}' gives no log-probabilities: {INSTEAD}")
        least = min(answer.top.values())
        found = [
            [logprob for token, logprob in answer.top.items() if token.strip() == letter] or [least]
            for letter in self._letters
        ]
        sums = [torch.logsumexp(torch.tensor(each, dtype=torch.float64), 0) for each in found]
        return torch.stack(sums).log_softmax(0)
