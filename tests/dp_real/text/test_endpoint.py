"""generator.kind = "openai" against a server of the test's own."""

from __future__ import annotations

import json
import math
import sqlite3
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai._base_client
import pytest
import torch

from dp_base.errors import DamagedError, DivergedError, InputError, Interrupted, MissingError
from dp_real.config import Config
from dp_real.data.sets.class_names import warn_once
from dp_real.plan import work
from dp_real.plan.needs import needs
from dp_real.runs.prepare import load_generator
from dp_real.runs.reader import Run
from dp_real.runs.run import run
from dp_real.runtime.seeds import row_seeds
from dp_real.text.codes import texts_of, to_codes, to_texts
from dp_real.text.models import asking
from dp_real.text.models.answers import Answers
from tests.dp_real.runs.folders import same_learner, traces
from tests.dp_real.text.made import SENTENCES, changed, endpoint_config, text_folder
from tests.experiments.conftest import run_dp
from torture.fake_endpoint import FAULTS, KEY, FakeEndpoint, served

THOUGHTS = (
    "<think>\nWell.\n</think>\n",
    "<Thinking>So</thinking>",
    "no mark before</think>",
    "<think>A</think>B</think>",
)
PROMPTS = ("A {} of a film.", "Another {}.")


def sentence(body: dict[str, Any]) -> str:
    """A sentence of the class that the prompt names, with a word of the seed's."""
    prompt = body.get("prompt") or body["messages"][-1]["content"]
    name = next((name for name in SENTENCES if f" {name}" in prompt), "praise")
    return f"{SENTENCES[name][body.get('seed', 0) % 4]} {body.get('seed', 0) % 9973}"


def by_letter(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Log-probabilities of a judge that is sure to .9: classes are in the order of the alphabet, blame and praise."""
    praised = any(text in body["messages"][-1]["content"] for text in SENTENCES["praise"])
    sure = {"A": 0.1 if praised else 0.9, "B": 0.9 if praised else 0.1}
    return [{"token": f" {letter}", "logprob": math.log(share)} for letter, share in sure.items()]


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeEndpoint]:
    """A server, and a cache without answers. Pauses after failures are short."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(asking, "TIMEOUT", 0.5)
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)
    with served() as server:
        server.write = sentence
        yield server


@pytest.fixture
def config(endpoint: FakeEndpoint, tmp_path: Path) -> Config:
    asked = {"prompts": PROMPTS, "stop": ["\n"], "requests": 4}
    return endpoint_config(endpoint.url, "fake", text_folder(tmp_path / "texts", repeat=2), **asked)


def drawn(config: Config, count: int, first: int = 0) -> list[str]:
    generator = load_generator(config)
    rows = range(first, first + count)
    return to_texts(generator.sample(torch.arange(count) % 2, row_seeds(0, 0, rows), None))


def test_a_run_asks_each_row_once(config: Config, endpoint: FakeEndpoint, tmp_path: Path):
    endpoint.delay = 0.05
    result = run(config, tmp_path / "run")
    assert (result["pool_size"], result["additions"], result["samples_generated"]) == (20, 1, 12 + 2 * 8)
    assert set(endpoint.answered.values()) == {1}
    assert len(endpoint.bodies) == 12 + 2 * 8
    body = endpoint.bodies[0]
    assert {body["messages"][0]["content"] for body in endpoint.bodies} == {
        template.format(name) for name in SENTENCES for template in PROMPTS
    }
    kept = {key: body[key] for key in ("model", "temperature", "top_p", "max_tokens", "stop")}
    assert kept == {"model": "fake", "temperature": 1.0, "top_p": 1.0, "max_tokens": 8, "stop": ["\n"]}
    assert len({body["seed"] for body in endpoint.bodies}) == len(endpoint.bodies)
    assert endpoint.most == 4
    drawn = Run(tmp_path / "run")
    for text, label in zip(texts_of(drawn.pool.x), drawn.pool.y.tolist(), strict=True):
        assert text.rsplit(" ", 1)[0] in SENTENCES[drawn.config.task.classes[label]]
    run(config, tmp_path / "again")
    assert len(endpoint.bodies) == 12 + 2 * 8
    assert traces(tmp_path / "again") == traces(tmp_path / "run")
    assert same_learner(tmp_path / "again", tmp_path / "run")


def test_an_endpoint_that_fails_in_every_way_changes_nothing(config: Config, endpoint: FakeEndpoint, tmp_path: Path):
    """But for what it answers, empty, refused or twice, which is part of the numbers."""
    failures = [fault for fault in FAULTS if fault not in ("refused", "filtered", "duplicate", "empty")]
    expected = drawn(config, 24)
    clean = list(endpoint.bodies)
    (tmp_path / "cache").rename(tmp_path / "earlier")
    seen: dict[int, tuple[int, int]] = {}  # how often each seed was asked for, and which one it was

    def fault(number: int, body: dict[str, Any]) -> str:
        times, place = seen.get(body["seed"], (0, len(seen)))
        seen[body["seed"]] = (times + 1, place)
        return failures[place % len(failures)] if times < 2 else ""

    endpoint.fault = fault
    endpoint.answered.clear()
    assert drawn(config, 24) == expected
    assert {fault for fault, count in endpoint.faults.items() if count} == {"", *failures}
    assert set(endpoint.answered.values()) == {1}
    assert len(endpoint.answered) == len(clean) == 24


def test_retry_after_is_honoured(config: Config, endpoint: FakeEndpoint):
    endpoint.fault = lambda number, body: "429" if number == 0 else ""
    begin = time.monotonic()
    assert all(drawn(config, 1))
    assert time.monotonic() - begin >= 0.2


def test_answers_that_are_none_are_drawn_again_and_counted(
    config: Config, endpoint: FakeEndpoint, tmp_path: Path, caplog: Any
):
    """Empty ones, refusals, those that are cut off, and thoughts without an end; other thoughts are dropped."""
    bad = {3: "refused", 12: "filtered", 21: "empty"}
    endpoint.fault = lambda number, body: bad.get(number, "")

    def write(body: dict[str, Any]) -> str:
        number = len(endpoint.bodies)
        if number == 30:
            return f"<think>Well, {sentence(body)}"
        return "a cut" if number in (39, 48) else THOUGHTS[number % len(THOUGHTS)] + sentence(body)

    endpoint.write = write
    endpoint.finish = lambda body: "length" if len(endpoint.bodies) in (39, 48) else "stop"
    result = run(changed(config, generator={"stop": [], "requests": 1}, practice={"initial": 40}), tmp_path / "run")
    assert result["samples_redrawn"] == 6
    texts = {text.rsplit(" ", 1)[0] for text in texts_of(Run(tmp_path / "run").pool.x)}
    assert texts <= {text for several in SENTENCES.values() for text in several}
    assert caplog.text.count("more than a tenth of a block's answers have thoughts") == 1
    found = {need.what: need.found for need in needs(config, tmp_path / "run")}["answers"]
    assert found.endswith(f"2 refused, 2 empty, 2 cut off, {len(endpoint.bodies) - 5} with thoughts")


def test_answers_that_are_all_cut_off_end_a_run(config: Config, endpoint: FakeEndpoint, tmp_path: Path, caplog: Any):
    warn_once.cache_clear()
    endpoint.finish = lambda body: "length"
    with pytest.raises(DivergedError, match=r"samples are empty: .* or raise generator.max_new_tokens"):
        run(config, tmp_path / "cut")
    assert "more than a tenth of a block's answers are cut off" in caplog.text
    assert all(drawn(changed(config, generator={"chat": False}), 4))  # a base model goes on without end
    stopped = changed(config, generator={"stop": ["film"]})
    endpoint.write = lambda body: "One film and anoth"
    assert drawn(stopped, 2, first=500) == ["One"] * 2  # the API does not look for what ends a text


def test_a_count_of_tokens_that_is_none_is_estimated(config: Config, endpoint: FakeEndpoint):
    for row, tokens in enumerate((10**30, -1, 1.5, "many", None, 2**41)):
        endpoint.counted = tokens
        assert all(drawn(config, 1, first=row))
    answers = Answers(endpoint.url, "fake")
    with answers.opened():
        assert 0 < answers.spent().read < 1000


def test_a_changed_answer_is_named(config: Config, endpoint: FakeEndpoint, tmp_path: Path):
    texts = drawn(config, 4)
    file = Answers(endpoint.url, "fake").file
    with sqlite3.connect(file) as database:
        ((question, kept), (_, its)) = database.execute("SELECT question, answer FROM answers LIMIT 2").fetchall()
    database.close()
    word = json.loads(kept)["text"].split()[0]
    no_digest = json.dumps({key: value for key, value in json.loads(kept).items() if key not in ("digest", "cut")})
    for changed_to in (kept.replace(word, word[::-1] + "x"), kept.replace('"read": 1', '"read": 2'), its):
        _put(file, question, changed_to)
        with pytest.raises(DamagedError, match=r"answers.sqlite is damaged: .*it is asked again"):
            drawn(config, 4)
        with pytest.raises(DamagedError, match=r"answers.sqlite is damaged"):
            needs(config, tmp_path)
    _put(file, question, no_digest)  # as version 0.2 kept it
    assert drawn(config, 4) == texts
    assert len(endpoint.bodies) == 4


def _put(file: Path, question: str, answer: str) -> None:
    with sqlite3.connect(file) as database:
        database.execute("UPDATE answers SET answer = ? WHERE question = ?", (answer, question))
    database.close()


def test_a_spent_budget_stops_a_run_which_goes_on_with_a_larger_one(
    config: Config, endpoint: FakeEndpoint, tmp_path: Path
):
    run(config, tmp_path / "whole")
    (tmp_path / "cache").rename(tmp_path / "earlier")
    endpoint.answered.clear()
    small, folder = changed(config, generator={"token_budget": 150}), tmp_path / "run"
    with pytest.raises(Interrupted, match=r"1[5-9]\d tokens are spent, generator.token_budget = 150 \(--set"):
        run(small, folder)
    assert 10 <= sum(endpoint.answered.values()) <= 10 + 3  # what was in flight ends
    asked = len(endpoint.bodies)
    with pytest.raises(Interrupted, match=r"dp real resume .* goes on"):
        run(small, folder, resume=True)
    assert len(endpoint.bodies) == asked
    more = ["--set", "generator.token_budget=1000000", "--set", "generator.requests=2"]
    assert run_dp("real", "resume", folder, *more) == 0
    assert set(endpoint.answered.values()) == {1}
    assert traces(folder) == traces(tmp_path / "whole")
    with pytest.raises(InputError, match="a run of another configuration"):
        run(changed(config, generator={"temperature": 0.5}), folder, resume=True)


def test_a_plan_says_tokens(config: Config, endpoint: FakeEndpoint, tmp_path: Path):
    soft = changed(config, pool={"soft_labels": True})
    tokens = work.tokens(soft)
    assert tokens["written"] == 28 * 8
    assert tokens["judged"] == 20 * soft.generator.judged_tokens(soft.task)
    found = {need.what: need for need in needs(config, tmp_path)}
    assert found["package"].found == "openai"
    assert found["answers"].found == "none kept yet"
    assert endpoint.url in found["generator.base_url"].found
    assert not endpoint.bodies


def test_the_key_is_sent_and_stands_nowhere(
    config: Config, endpoint: FakeEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
):
    keyed = changed(config, generator={"key": "KEY_OF_THE_TEST"})
    with pytest.raises(MissingError, match="'KEY_OF_THE_TEST': that environment variable is not set"):
        run(keyed, tmp_path / "run")
    assert "is not set" in str({need.problem for need in needs(keyed, tmp_path)})
    monkeypatch.setenv("KEY_OF_THE_TEST", KEY)
    with caplog.at_level("DEBUG"):
        run(keyed, tmp_path / "run")
    assert {headers["authorization"] for headers in endpoint.headers} == {f"Bearer {KEY}"}
    assert KEY not in caplog.text
    for path in [*(tmp_path / "run").rglob("*"), *(tmp_path / "cache").rglob("*")]:
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    endpoint.fault = lambda number, body: "401"
    with pytest.raises(MissingError, match=r"refuses the key in \$KEY_OF_THE_TEST") as refused:
        drawn(keyed, 1, first=1000)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("form", ["error", "answer", "page", "text"])
def test_what_repeats_the_key_or_a_part_of_it_is_not_shown(
    config: Config, endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch, form: str
):
    monkeypatch.setenv("KEY_OF_THE_TEST", KEY)
    keyed = changed(config, generator={"key": "KEY_OF_THE_TEST"})
    if form == "error":
        endpoint.fault = lambda number, body: "401"
    parts = [KEY[3:], KEY[:9], f"x{KEY[5:14]}x"] if form != "text" else []  # a part of a text may be a word
    for said in (KEY, "no " * 95 + KEY, f"'{KEY}'" * 40, *parts):
        replies = {
            "error": {"error": {"message": said, "code": None, "type": "error"}},
            "answer": {"detail": said},  # with status 200
            "page": said,
            "text": {"choices": [{"message": {"content": said}, "finish_reason": "stop"}]},
        }
        monkeypatch.setattr(endpoint, "content", lambda path, body, fault, reply=replies[form]: reply)
        with pytest.raises(MissingError) as refused:
            drawn(keyed, 1)
        told = "".join(traceback.format_exception(refused.value))
        assert not [KEY[at : at + 6] for at in range(len(KEY) - 5) if KEY[at : at + 6] in told]


def test_redirects_are_not_followed(config: Config, endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEY_OF_THE_TEST", KEY)
    endpoint.fault = lambda number, body: "redirect"
    with served() as other:
        endpoint.redirect = other.url + "/chat/completions"
        with pytest.raises(MissingError, match="Error code: 307"):
            drawn(changed(config, generator={"key": "KEY_OF_THE_TEST"}), 1)
        assert not other.bodies


def test_no_key_of_the_environment_is_sent_unasked(config: Config, endpoint: FakeEndpoint, monkeypatch: Any):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    drawn(config, 1)
    assert KEY not in str(endpoint.headers)
    assert "org" not in {value for headers in endpoint.headers for value in headers.values()}


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("500", MissingError, "failed 2 times: Error code: 500.*what was answered is kept"),
        ("slow", MissingError, r"failed 2 times: no answer within 0.5 seconds"),
        ("trickle", MissingError, "failed 2 times: no answer within 0.5 seconds"),
        ("endless", MissingError, "failed 2 times: an answer of more than 16 MiB"),
        ("nested", MissingError, "gave 4 answers that are none"),
        ("404", InputError, "has no model 'fake', or is no such API"),
        ("400", InputError, "refuses a request.*generator.parameters = .* drops one"),
        ("null", MissingError, r"gave 4 answers that are none: no choices\[0\].message.content in 'None'"),
    ],
)
def test_what_does_not_end_is_said_in_a_line(
    config: Config,
    endpoint: FakeEndpoint,
    fault: str,
    kind: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
):
    endpoint.fault = lambda number, body: fault
    monkeypatch.setattr(asking, "RETRIES", 1)
    if "answer within" not in message:
        monkeypatch.setattr(asking, "TIMEOUT", 60.0)  # a busy machine takes long to send 16 MiB
    with pytest.raises(kind, match=message) as raised:
        drawn(config, 2)
    assert "\n" not in str(raised.value)


def test_what_was_answered_before_a_failure_is_kept(config: Config, endpoint: FakeEndpoint):
    endpoint.fault = lambda number, body: "401" if number == 6 else ""
    with pytest.raises(MissingError):
        drawn(config, 16)
    assert 6 <= sum(endpoint.answered.values()) <= 6 + 4
    endpoint.fault = lambda number, body: ""
    drawn(config, 16)
    assert set(endpoint.answered.values()) == {1}
    assert len(endpoint.answered) == 16


def test_shots_show_real_examples(config: Config, endpoint: FakeEndpoint):
    drawn(changed(config, generator={"shots": 1, "prompts": ["Like {examples}: {}"]}), 6)
    sentences = {sentence for several in SENTENCES.values() for sentence in several}
    shown = {body["messages"][-1]["content"].removeprefix("Like ").partition(":")[0] for body in endpoint.bodies}
    assert len(shown) > 1
    assert {text.rpartition(" ")[0] for text in shown} <= sentences


def test_a_base_model_completes(config: Config, endpoint: FakeEndpoint):
    options = {"chat": False, "parameters": {"top_k": 5, "seed": "", "stop": ""}}
    assert all(drawn(changed(config, generator=options), 2))
    assert len(endpoint.bodies) == 2  # which came first is nobody's choice
    for body in endpoint.bodies:
        assert body["prompt"] in {template.format(name) for name in SENTENCES for template in PROMPTS}
        assert body["top_k"] == 5
        assert not {"seed", "stop", "messages"} & set(body)


def codes(*texts: str) -> torch.Tensor:
    return to_codes(texts, 40)


def test_log_probabilities_are_soft_labels(config: Config, endpoint: FakeEndpoint, tmp_path: Path):
    endpoint.logprobs = by_letter
    generator: Any = load_generator(config)
    posterior = generator.log_posterior(codes("a fine film", "bad jokes and a poor cast", "a fine film")).exp()
    assert torch.allclose(posterior, torch.tensor([[0.1, 0.9], [0.9, 0.1], [0.1, 0.9]], dtype=torch.float64))
    assert len(endpoint.bodies) == 2
    assert "A. blame\nB. praise" in endpoint.bodies[0]["messages"][0]["content"]
    soft = changed(config, pool={"soft_labels": True}, guidance={"likelihood_weight": 0.5})
    run(soft, tmp_path / "run")
    kept = np.array(Run(tmp_path / "run").pool.table()["posterior"].to_pylist())
    assert np.allclose(np.sort(kept, axis=1), [0.1, 0.9])
    assert set(endpoint.answered.values()) == {1}


def test_an_endpoint_without_log_probabilities(config: Config, endpoint: FakeEndpoint):
    generator: Any = load_generator(config)
    with pytest.raises(InputError, match=r"gives no log-probabilities: set pool.soft_labels = false"):
        generator.log_posterior(codes("a fine film"))


def test_damaged_answers_are_named(config: Config, tmp_path: Path):
    drawn(config, 1)
    (file,) = (tmp_path / "cache").rglob("answers.sqlite")
    for other in file.parent.glob("answers.sqlite-*"):
        other.unlink()
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(DamagedError, match=r"answers.sqlite is damaged: .*; remove .*: it is asked again"):
        drawn(config, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_url": "localhost:8000"}, "base_url should begin with http"),
        ({"base_url": "http://me:sk-secret@there/v1"}, "base_url should hold no key"),
        ({"key": "sk-secret"}, "key should be the name of an environment variable"),
        ({"parameters": {"n": 2}}, "parameters has 'n'"),
    ],
)
def test_settings_that_cannot_be(config: Config, changes: dict, message: str):
    with pytest.raises(InputError, match=message) as raised:
        changed(config, generator=changes)
    assert "sk-secret" not in str(raised.value)
