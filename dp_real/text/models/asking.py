"""Asks an OpenAI-compatible endpoint by its official client, each question until it is answered."""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, cast

import httpx2
import openai

from dp_base.checksums import json_digest
from dp_base.errors import InputError, Interrupted, MissingError
from dp_real.text.models.answers import Answer, Answers, Spent, without_thoughts

if TYPE_CHECKING:
    from dp_real.text.language_models import EndpointConfig

TIMEOUT = 600.0  # seconds until a request is given up
RETRIES = 6  # of a request that failed, after pauses that grow, or as Retry-After says
MALFORMED = 3  # further answers that are asked for in place of one without the fields of an answer
SHOWN = 300  # characters of what an endpoint says that messages repeat
LONG = 16  # characters of a key that is no placeholder, such as EMPTY, which a text may have
PART = 6  # characters of the key that messages do not have in a row
CHARACTERS = 4  # of a token, about, if the endpoint does not count them
MORE = " (--set a larger one to go on)"
FILTERED = "content_filter"  # how an endpoint calls what it would not answer
CHAT = "/chat/completions"
CUT = "length"  # how it calls an answer that max_tokens ends
LARGEST = 2**24  # bytes of an answer: a text of millions of characters is none that was asked for
MOST_TOKENS = 2**40  # of an answer that an endpoint may count


@dataclass(frozen=True)
class Question:
    """A request of `path` with a JSON `body`, and the row's seed if the answer may depend on it."""

    path: str
    body: dict[str, Any]
    row: int | None = None

    @property
    def digest(self) -> str:
        return json_digest([self.body, [self.path, self.row]], sort_keys=True)


class Malformed(ValueError):
    """The message says what an answer lacks."""


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """Gives up after `limit` seconds in all, or LARGEST bytes of an answer."""

    def __init__(self, limit: float) -> None:
        super().__init__(follow_redirects=False)  # the key goes to no other place
        self.limit = limit

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        content = bytearray()
        try:
            async with asyncio.timeout(self.limit):
                response = await super().send(request, stream=True, **options)
                try:
                    async for part in response.aiter_bytes():
                        content += part
                        if len(content) > LARGEST:
                            raise httpx2.ReadError(f"an answer of more than {LARGEST >> 20} MiB", request=request)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise httpx2.ReadTimeout("the answer took too long", request=request) from error
        packed = ("content-encoding", "content-length", "transfer-encoding")  # what came, which is unpacked now
        headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in packed]
        return httpx2.Response(response.status_code, headers=headers, content=bytes(content), request=request)


class Asking:
    """Asks a block's questions that were not answered earlier; `answers` must be open."""

    def __init__(self, settings: EndpointConfig, answers: Answers) -> None:
        self.settings = settings
        self.answers = answers
        self._stopped = False
        self._spent = ""  # that the budget is, and how it goes on

    async def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """After a failure or a spent budget, it waits for what is in flight: that is paid for."""
        by_digest = {each.digest: each for each in questions}
        kept = {digest: self.answers.find(digest) for digest in by_digest}
        missing = [digest for digest, answer in kept.items() if answer is None]
        if missing:
            at_a_time = asyncio.Semaphore(self.settings.requests)
            async with self._client() as client:
                tasks = [self._one(client, at_a_time, by_digest[digest]) for digest in missing]
                found = await asyncio.gather(*tasks, return_exceptions=True)
            if error := next((each for each in found if isinstance(each, BaseException)), None):
                raise error
            if self._spent:
                raise Interrupted(self._spent)
            kept |= dict(zip(missing, cast(list[Answer], found), strict=True))
        return [cast(Answer, kept[each.digest]) for each in questions]

    def _client(self) -> openai.AsyncOpenAI:
        settings = self.settings
        return openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=self._key or "none",  # the client wants one, and would take another from the environment
            organization="",
            project="",
            timeout=TIMEOUT,
            max_retries=RETRIES,
            http_client=BoundedClient(TIMEOUT),
        )

    @property
    def _key(self) -> str:
        return os.environ.get(self.settings.key, "").strip() if self.settings.key else ""

    async def _one(self, client: openai.AsyncOpenAI, at_a_time: asyncio.Semaphore, question: Question) -> Answer | None:
        """None: it was not asked."""
        async with at_a_time:
            self._spent = self._spent or self._budget_spent()
            if self._stopped or self._spent:
                return None
            try:
                answer = await self._answered(client, question)
                return self.answers.keep(question.digest, answer)
            except BaseException:
                self._stopped = True
                raise

    def _budget_spent(self) -> str:
        """It is empty if the budget is not spent."""
        spent = sum(self.answers.spent())
        budget = self.settings.token_budget
        return f"{spent:,} tokens are spent, generator.token_budget = {budget}{MORE}" if 0 < budget <= spent else ""

    async def _answered(self, client: openai.AsyncOpenAI, question: Question) -> Answer:
        for attempt in range(MALFORMED + 1):
            try:
                reply = await client.post(question.path, body=question.body, cast_to=object)
                answer = read_answer(reply, question)
                if len(self._key) >= LONG and self._key in answer.text:
                    raise Malformed("the text has the key")
                return answer
            except openai.APIError as error:
                if FILTERED in (error.code, error.type):
                    return Answer("", "refused", 0, 0)
                self._explain(error)
            except (ValueError, RecursionError) as error:  # also for a text that is no JSON, or nested without end
                if attempt == MALFORMED:
                    message = f"{self._where} gave {attempt + 1} answers that are none: {self._said(error)}"
                    raise MissingError(f"{message}; does generator.base_url name an OpenAI-compatible API?") from None
        raise AssertionError("the last attempt returns or raises")

    @property
    def _where(self) -> str:
        return f"generator.base_url = '{self.settings.base_url}'"

    def _said(self, error: Exception) -> str:
        """One short line without the key."""
        return without(self._key, " ".join(str(error)[: 10 * SHOWN].split()))[:SHOWN]

    def _explain(self, error: openai.APIError) -> NoReturn:
        """No message has the key."""
        said = self._said(error)
        where = self._where
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            which = f"the key in ${self.settings.key}" if self.settings.key else "a request without a key"
            raise MissingError(f"{where} refuses {which}: {said}") from None
        if isinstance(error, openai.NotFoundError):
            raise InputError(f"{where} has no model '{self.settings.model}', or is no such API: {said}") from None
        if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
            remedy = "generator.parameters = { NAME = '' } drops one that it does not know"
            raise InputError(f"{where} refuses a request: {said}; {remedy}") from None
        if isinstance(error.__cause__, httpx2.ReadError) and str(error.__cause__):
            said = str(error.__cause__)
        if isinstance(error, openai.APITimeoutError):
            said = f"no answer within {TIMEOUT:g} seconds"
        remedy = "what was answered is kept; go on when it answers again"
        raise MissingError(f"{where} failed {RETRIES + 1} times: {said}; {remedy}") from None


def without(key: str, said: str) -> str:
    """Remove any PART characters of the key in a row, since endpoints may repeat a part."""
    size = min(PART, len(key))
    parts = {key[at : at + size] for at in range(len(key) - size + 1)} - {""}
    hidden = {at + place for at in range(len(said)) if said[at : at + size] in parts for place in range(size)}
    return re.sub("\0+", "…", "".join("\0" if at in hidden else sign for at, sign in enumerate(said)))


def read_answer(reply: Any, question: Question) -> Answer:
    """Raise Malformed if a reply has no answer."""
    try:
        choice = reply["choices"][0]
        message = choice.get("message") or {"content": choice.get("text")}
        content = message.get("content")
        refused = bool(message.get("refusal")) or choice.get("finish_reason") == FILTERED
        top = _likeliest(choice.get("logprobs"))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise Malformed(f"no choices[0].message.content in {str(reply)[:80]!r}") from error
    if content is not None and not isinstance(content, str):
        raise Malformed(f"choices[0].message.content is of type {type(content).__name__}")
    if content is None and "finish_reason" not in choice and not refused:
        raise Malformed("choices[0].message has no content")
    text = (content or "").strip()
    spent = _tokens(reply.get("usage"), question, text)
    outcome = "refused" if refused else "text" if without_thoughts(text) else "empty"
    is_cut = question.path == CHAT and question.row is not None and choice.get("finish_reason") == CUT
    return Answer("" if refused else text, outcome, *spent, top, is_cut)


def _likeliest(logprobs: Any) -> dict[str, float]:
    """Log-probabilities of the first tokens; {} if the API gives none."""
    content = (logprobs or {}).get("content") or []
    listed = content[0].get("top_logprobs") or [] if content else []
    found = {str(each["token"]): float(each["logprob"]) for each in listed}
    return {token: logprob for token, logprob in found.items() if math.isfinite(logprob)}


def _tokens(usage: Any, question: Question, text: str) -> Spent:
    """As the API counts them, else about as many as there should be."""
    counts = [usage.get(f"{what}_tokens") for what in ("prompt", "completion")] if isinstance(usage, dict) else []
    counted = [count for count in counts if isinstance(count, int) and 0 <= count <= MOST_TOKENS]
    if len(counted) == len(Spent._fields):
        return Spent(*counted)
    return Spent(len(str(question.body)) // CHARACTERS, len(text) // CHARACTERS)
