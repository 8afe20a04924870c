"""A language model behind an OpenAI-compatible HTTP API, asked by openai's client, each question until it answers."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import httpx2
import numpy as np
import openai
from torch import Tensor

from dp_base.checksums import json_digest
from dp_base.errors import InputError, Interrupted, MissingError
from dp_real.guidance import EntropyGuidance
from dp_real.text.codes import to_codes
from dp_real.text.models.answers import Answer, Answers
from dp_real.text.models.asked import AskedGenerator

if TYPE_CHECKING:
    from dp_real.data import DataConfig
    from dp_real.examples import RealData
    from dp_real.text.language_models import EndpointConfig

CHAT = "/chat/completions"
LARGEST_SEED = 2**31  # of a request: APIs take them below this
TIMEOUT = 600.0  # seconds until a request is given up
RETRIES = 6  # of a request that failed, after pauses that grow, or as Retry-After says
ATTEMPTS = 4  # at an answer that has the fields of one
SHOWN = 300  # characters of what an endpoint says that messages repeat
CHARACTERS = 4  # of a token, about, if the endpoint does not count them
FILTERED = "content_filter"  # how an endpoint calls what it would not answer
CUT = "length"  # how it calls an answer that max_tokens ends
THOUGHT = "(?:think|thinking|thought|reasoning)>"


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """Gives up after TIMEOUT in all, not only between parts of an answer."""

    async def send(self, *request: Any, **options: Any) -> Any:
        try:
            async with asyncio.timeout(TIMEOUT):
                return await super().send(*request, **options)
        except TimeoutError as error:
            raise httpx2.ReadTimeout("the answer took too long") from error


class EndpointGenerator(AskedGenerator):
    """Answers are kept, so that a row is a function of its seed, which is sent, even where the API is not."""

    config: EndpointConfig

    def __init__(self, config: EndpointConfig, source: DataConfig, data: RealData | None = None) -> None:
        super().__init__(config, source, data)
        self.answers = Answers(config.base_url, config.model)
        self.key = os.environ.get(config.key, "").strip() if config.key else ""
        self.where = f"generator.base_url = '{config.base_url}'"
        self.failed = False

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """A refusal, and an answer cut off, is an empty text."""
        bodies = [self.body(label, seed) for label, seed in zip(labels.tolist(), seeds.tolist(), strict=True)]
        answers = asyncio.run(self._ask(bodies, seeds.tolist()))
        return to_codes([self._text(answer) for answer in answers], self.sample_shape[0])

    @property
    def path(self) -> str:
        return CHAT if self.config.chat else "/completions"

    def body(self, label: int, seed: int) -> dict[str, Any]:
        """A request with the user's parameters but those that the API refuses."""
        config = self.config
        prompt = self.prompt(label, seed)
        body = {"model": config.model, **config.parameters}
        body |= {"messages": [{"role": "user", "content": prompt}]} if config.chat else {"prompt": prompt}
        body |= {"temperature": config.temperature, "top_p": config.top_p, "max_tokens": config.max_new_tokens}
        body |= {"seed": seed % LARGEST_SEED} | ({"stop": list(config.stop)} if config.stop else {})
        return {key: value for key, value in body.items() if config.parameters.get(key) != ""}

    def _text(self, answer: Answer) -> str:
        text = without_thoughts(answer.text)
        is_cut_off = answer.cut and not any(stop in text for stop in self.config.stop)
        return "" if is_cut_off else self.cut(text)

    async def _ask(self, bodies: Sequence[dict[str, Any]], rows: Sequence[int]) -> list[Answer]:
        """After a failure or a spent budget, waits for what is in flight: that is paid for."""
        config = self.config
        digests = [json_digest([body, self.path, row], sort_keys=True) for body, row in zip(bodies, rows, strict=True)]
        self.answers.take_in()
        missing = {key: body for key, body in zip(digests, bodies, strict=True) if key not in self.answers.kept}
        if missing:
            self.failed = False
            room = asyncio.Semaphore(config.requests)
            async with openai.AsyncOpenAI(
                base_url=config.base_url,
                api_key=self.key or "none",  # the client wants one, and would take another from the environment
                organization="",
                project="",
                timeout=TIMEOUT,
                max_retries=RETRIES,
                http_client=BoundedClient(follow_redirects=False),  # the key goes to no other place
            ) as client:
                tasks = [self._one(client, room, *each) for each in missing.items()]
                for failure in await asyncio.gather(*tasks, return_exceptions=True):
                    if failure is not None:
                        raise failure
            if not missing.keys() <= self.answers.kept.keys():
                budget = f"generator.token_budget = {config.token_budget} (--set a larger one to go on)"
                raise Interrupted(f"{self.answers.tokens:,} tokens are spent, {budget}")
        return [self.answers.kept[digest] for digest in digests]

    async def _one(self, client: openai.AsyncOpenAI, room: asyncio.Semaphore, digest: str, body: Any) -> None:
        async with room:
            if self.failed or 0 < self.config.token_budget <= self.answers.tokens:
                return
            try:
                self.answers.keep(digest, await self._answered(client, body))
            except BaseException:
                self.failed = True
                raise

    async def _answered(self, client: openai.AsyncOpenAI, body: dict[str, Any]) -> Answer:
        fault = ""
        for _ in range(ATTEMPTS):
            try:
                return read_answer(await client.post(self.path, body=body, cast_to=object), body)
            except openai.APIError as error:
                if FILTERED in (error.code, error.type):
                    return Answer("", 0)
                self._explain(error)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                fault = self._said(error)  # it is no JSON, or has not the fields of an answer
        raise MissingError(
            f"{self.where} gave {ATTEMPTS} answers that are none: {fault}; does it name an OpenAI-compatible API?"
        )

    def _said(self, error: Exception) -> str:
        """One short line without the key, which endpoints may repeat."""
        said = " ".join(str(error).split())
        return (said.replace(self.key, "…") if self.key else said)[:SHOWN]

    def _explain(self, error: openai.APIError) -> NoReturn:
        status = getattr(error, "status_code", 0)
        said = self._said(error)
        if status in (401, 403):
            key = f"the key in ${self.config.key}" if self.key else "a request without a key"
            raise MissingError(f"{self.where} refuses {key}: {said}") from None
        if status == 404:
            raise InputError(f"{self.where} has no model '{self.config.model}', or is no such API: {said}") from None
        if status in (400, 422):
            remedy = "generator.parameters = { NAME = '' } drops one that it does not know"
            raise InputError(f"{self.where} refuses a request: {said}; {remedy}") from None
        if isinstance(error, openai.APITimeoutError):
            said = f"no answer within {TIMEOUT:g} seconds"
        remedy = "what was answered is kept; go on when it answers again"
        raise MissingError(f"{self.where} failed {RETRIES + 1} times: {said}; {remedy}") from None


def read_answer(reply: Any, body: dict[str, Any]) -> Answer:
    """Raises some error for what is no answer."""
    choice = reply["choices"][0]
    message = choice.get("message") or {"content": choice["text"]}
    refused = message.get("refusal") or choice.get("finish_reason") == FILTERED
    text = "" if refused else (message["content"] or "").strip()
    tokens = (reply.get("usage") or {}).get("total_tokens")
    if not isinstance(tokens, int) or tokens < 0:
        tokens = (len(str(body)) + len(text)) // CHARACTERS
    return Answer(text, tokens, cut="messages" in body and choice.get("finish_reason") == CUT)


def without_thoughts(text: str) -> str:
    """The text behind the last thought; empty if that has no end."""
    after = re.split(f"(?i)</{THOUGHT}", text)[-1]
    return "" if re.search(f"(?i)<{THOUGHT}", after) else after.strip()
