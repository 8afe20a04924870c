"""A language model behind an OpenAI-compatible HTTP API, with openai's client and retries."""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import openai
from torch import Tensor

from dp_base.checksums import json_digest
from dp_base.errors import InputError, Interrupted, MissingError
from dp_real.data import DataConfig
from dp_real.data.examples import RealData
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.runtime.connection import connection
from dp_real.text.codes import to_codes
from dp_real.text.models.answers import Answer, Answers
from dp_real.text.models.prompted import PromptedGenerator

if TYPE_CHECKING:
    from dp_real.text.language_models import EndpointConfig

MAX_SEED = 2**31  # APIs take seeds below this
TIMEOUT = 600.0  # seconds until a request fails
MAX_ANSWER = 2**24  # bytes of an answer
RETRIES = 6  # of a failed request, after growing pauses or Retry-After
ATTEMPTS = 4  # to get a valid answer
PART = 4  # characters of a key by which it is recognised and hidden
SHOWN = 300  # characters of an endpoint's message that ours quote
CHARACTERS = 4  # about, per token, if the endpoint does not count them
FILTERED = "content_filter"  # an endpoint's code of a refusal


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """Gives up after TIMEOUT in total, not only between parts of an answer, and after MAX_ANSWER bytes."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        content = b""
        try:
            async with asyncio.timeout(TIMEOUT):
                response = await super().send(request, **options | {"stream": True})
                async with contextlib.aclosing(response):
                    async for part in response.aiter_bytes():
                        content += part
                        if len(content) > MAX_ANSWER:
                            raise httpx2.ReadError(f"the answer has more than {MAX_ANSWER:,} bytes")
        except TimeoutError as error:
            raise httpx2.ReadTimeout("the answer took too long") from error
        headers = [header for header in response.headers.multi_items() if header[0] != "content-encoding"]
        return httpx2.Response(response.status_code, headers=headers, content=content, request=request)


class EndpointGenerator(PromptedGenerator):
    """Stores answers, so that a row is a function of its seed, which is sent, even if the API's answers are not."""

    config: "EndpointConfig"

    def __init__(self, config: "EndpointConfig", source: DataConfig, data: RealData | None = None) -> None:
        super().__init__(config, source, data)
        self.answers = Answers(config.base_url, config.model)
        self.key = os.environ.get(config.key, "").strip()
        self.where = f"generator.base_url = '{config.base_url}'"
        self.path = "/chat/completions" if config.chat else "/completions"

    def sample(self, labels: Tensor, seeds: np.ndarray, guidance: EntropyGuidance | None) -> Tensor:
        """A refusal or a cut answer becomes an empty text."""
        questions = [*map(self.question, labels.tolist(), seeds.tolist())]
        self.answers.take_in()
        missing = {digest: body for digest, body in questions if digest not in self.answers.by_question}
        if missing:
            self._run(self._ask(missing))
        texts = [self._text(self.answers.by_question[digest]) for digest, _ in questions]
        return to_codes(texts, self.sample_shape[0], self.where)

    def question(self, label: int, seed: int) -> tuple[str, dict[str, Any]]:
        """A request and its digest, with the user's parameters, without those that the API refuses."""
        config = self.config
        prompt = self.prompt(label, seed)
        query = {"messages": [{"role": "user", "content": prompt}]} if config.chat else {"prompt": prompt}
        body = {
            "model": config.model,
            **config.parameters,
            **query,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "max_tokens": config.max_new_tokens,
            "seed": seed % MAX_SEED,
            **({"stop": list(config.stop)} if config.stop else {}),
        }
        body = {key: value for key, value in body.items() if config.parameters.get(key) != ""}
        return json_digest([body, self.path, seed], sort_keys=True), body

    def _text(self, answer: Answer) -> str:
        after = self.strip_reasoning(answer.text)
        text = self.cut(after)
        return "" if answer.cut and text == after else text

    def _run(self, asking: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine, in a thread if an event loop is running here, as in a notebook."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(asking)
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(asyncio.run, asking).result()

    async def _ask(self, missing: dict[str, dict[str, Any]]) -> None:
        """Send requests. After a failure or a spent budget, wait for those in flight, which are paid for."""
        config, answers = self.config, self.answers
        room = asyncio.Semaphore(config.requests)
        failures: list[Exception] = []

        async def ask(digest: str, body: dict[str, Any]) -> None:
            async with room:
                if failures or 0 < config.token_budget <= answers.tokens:
                    return
                try:
                    answers.keep(digest, await self._answered(client, body))
                except Exception as error:
                    failures.append(error)

        async with openai.AsyncOpenAI(
            base_url=config.base_url,
            api_key=self.key or "none",  # otherwise the client takes one from the environment
            organization="",
            project="",
            timeout=TIMEOUT,
            max_retries=RETRIES,
            http_client=BoundedClient(follow_redirects=False, **connection(config.base_url)),
        ) as client:  # no redirects, so that the key goes to no other place
            client._custom_headers = {}  # $OPENAI_CUSTOM_HEADERS may hold a secret for another place
            await asyncio.gather(*[ask(*each) for each in missing.items()])
        if failures:
            raise failures[0]
        if not missing.keys() <= answers.by_question.keys():
            budget = f"generator.token_budget = {config.token_budget} (--set a larger one to go on)"
            raise Interrupted(f"{answers.tokens:,} tokens are spent, {budget}")

    async def _answered(self, client: openai.AsyncOpenAI, body: dict[str, Any]) -> Answer:
        reply: Any = ""
        for _ in range(ATTEMPTS):
            try:
                reply = await client.post(self.path, body=body, cast_to=object)
                return read_answer(json.loads(reply) if isinstance(reply, str) else reply, body)
            except openai.APIError as error:
                if FILTERED in (error.code, error.type):
                    return Answer("", 0)
                raise self._explained(error) from None
            except Exception as error:  # it is no JSON, or lacks an answer's fields
                reply = reply or error
        raise MissingError(
            f"{self.where} gave {ATTEMPTS} invalid answers, the last one {self._without_key(reply)}; does it name an "
            "OpenAI-compatible API?"
        )

    def _without_key(self, what: object) -> str:
        """A short line without the key, of which endpoints may quote the beginning and the end."""
        words = " ".join(str(what).split())
        ends = f"{re.escape(self.key[:PART])}|{re.escape(self.key[-PART:])}"
        return (re.sub(rf"""[^\s"']*({ends})[^\s"']*""", "…", words) if self.key else words)[:SHOWN]

    def _explained(self, error: openai.APIError) -> InputError | MissingError:
        words = self._without_key(error.__cause__ if isinstance(error, openai.APIConnectionError) else error)
        code = getattr(error, "status_code", None)
        match code:
            case 401 | 403:
                key = f"the key in ${self.config.key}" if self.key else "a request without a key"
                return MissingError(f"{self.where} refuses {key}: {words}")
            case 404:
                return InputError(f"{self.where} has no model '{self.config.model}', or is not such an API: {words}")
            case 400 | 422:
                remedy = "generator.parameters = { NAME = '' } omits one that it does not know"
                return InputError(f"{self.where} refuses a request: {words}; {remedy}")
        if isinstance(error, openai.APITimeoutError):
            words = f"no answer within {TIMEOUT:g} seconds"
        is_asked_again = code is None or code in (408, 409, 429) or code >= 500
        failed = f"failed {RETRIES + 1} times" if is_asked_again else "refuses a request"
        return MissingError(f"{self.where} {failed}: {words}; its answers are stored; resume when it works again")


def read_answer(reply: Any, body: dict[str, Any]) -> Answer:
    """A reply as an Answer. Raises some error if it is invalid."""
    choice = reply["choices"][0]
    message = choice.get("message") or {"content": choice["text"]}
    end = choice.get("finish_reason")
    text = "" if message.get("refusal") or end == FILTERED else (message["content"] or "").strip()
    tokens = (reply.get("usage") or {}).get("total_tokens")
    if not isinstance(tokens, int) or tokens < 0:
        tokens = (len(str(body)) + len(text)) // CHARACTERS
    return Answer(text, tokens, cut="messages" in body and end == "length")
