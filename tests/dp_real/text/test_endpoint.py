"""generator.kind = "openai" against a server of the test's own."""

import asyncio
import re
import shutil
import sys

import pytest
import torch

from dp_base.errors import InputError, Interrupted, MissingError
from dp_real import Practice, Run, run
from dp_real.plan import forecast
from dp_real.plan.needs import needs
from dp_real.runs.prepare import load_generator
from dp_real.runtime.seeds import row_seeds
from dp_real.text.codes import texts_of
from dp_real.text.models.answers import Answers
from tests.commands import done
from tests.dp_real.conftest import changed
from tests.dp_real.runs.folders import same_learner, traces
from tests.dp_real.text.made import SENTENCES, assert_sentences_of_their_classes, endpoint_config, text_folder
from tests.refusals import refusal
from torture.fake_endpoint import FAULTS, KEY, served

ALL = 12 + 2 * 8  # texts of a run
THOUGHTS = ("<think>\nWell.\n</think>\n", "no mark before</Think>", "<think>A</think>B</think>")
NO_URLS = ("localhost:8000", *(f"http://{host}/v1" for host in ("h:99999", "h:0", "h:sk-secret", "[::1", "h\n")))
PROMPTS = ("A {} of a film.", "Another {}.")


def sentence(body):
    """A sentence of the class that the prompt names, with a word of the seed's."""
    prompt = body.get("prompt") or body["messages"][-1]["content"]
    name = next(name for name in SENTENCES if f" {name}" in prompt)
    return f"{SENTENCES[name][body.get('seed', 0) % 4]} {body.get('seed', 0) % 9973}"


@pytest.fixture
def endpoint(patch, own_cache):
    """A server, and a cache without answers. Pauses after failures are short, and the learner is small."""
    patch("dp_real.text.models.ngrams.EMBEDDINGS", 2**8)
    patch("dp_real.text.models.endpoint.TIMEOUT", 0.5)
    patch("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    with served() as server:
        server.write = sentence
        yield server


@pytest.fixture
def config(endpoint, tmp_path):
    asked = {"prompts": PROMPTS, "stop": ["\n"], "requests": 4}
    return endpoint_config(endpoint.url, "fake", text_folder(tmp_path / "texts", repeat=2), **asked)


def drawn(config, count, **generator):
    model = load_generator(changed(config, generator=generator))
    return texts_of(model.sample(torch.arange(count) % 2, row_seeds(0, 0, range(count)), None))


def test_a_run_asks_each_row_once(config, endpoint, tmp_path):
    found = {need.what: need for need in needs(config, tmp_path)}
    assert found["answers"].found == "0 stored, of 0 tokens"
    assert endpoint.url in found["generator.base_url"].found
    assert forecast.tokens(config)["written"] == ALL * 8
    endpoint.delay = 0.05
    result = run(config, tmp_path / "run")
    assert (result["pool_size"], result["additions"], result["samples_generated"]) == (20, 1, ALL)
    assert len({body["seed"] for body in endpoint.bodies}) == len(endpoint.bodies) == ALL
    body = endpoint.bodies[0]
    assert {body["messages"][0]["content"] for body in endpoint.bodies} == {
        template.format(name) for name in SENTENCES for template in PROMPTS
    }
    sent = {key: value for key, value in body.items() if key not in ("messages", "seed")}
    assert sent == {"model": "fake", "temperature": 1.0, "top_p": 1.0, "max_tokens": 8, "stop": ["\n"]}
    assert endpoint.most == 4
    assert_sentences_of_their_classes(Run(tmp_path / "run"))
    run(config, tmp_path / "again")
    assert len(endpoint.bodies) == ALL
    assert traces(tmp_path / "again") == traces(tmp_path / "run")
    assert same_learner(tmp_path / "again", tmp_path / "run")


def test_an_endpoint_that_fails_in_every_way_changes_nothing(config, endpoint, tmp_path):
    """But for what it answers, empty, refused or twice, which is part of the numbers."""
    failures = [fault for fault in FAULTS if fault not in ("refused", "filtered", "duplicate", "empty")]
    expected = drawn(config, 16)
    (tmp_path / "cache").rename(tmp_path / "earlier")
    seen = {}  # how often each seed was asked for, and which one it was

    def fault(number, body):
        times, place = seen.get(body["seed"], (0, len(seen)))
        seen[body["seed"]] = (times + 1, place)
        return failures[place % len(failures)] if times < 2 else ""

    endpoint.fault = fault
    endpoint.answered.clear()
    assert drawn(config, 16) == expected
    assert {fault for fault, count in endpoint.faults.items() if count} == {"", *failures}
    assert list(endpoint.answered.values()) == [1] * 16


def test_what_is_no_text_is_empty(config, endpoint):
    """Empty answers, refusals, and thoughts without an end; other thoughts are dropped. Empty texts are drawn again."""
    faults = {1: "refused", 2: "filtered", 3: "empty"}
    endpoint.fault = lambda number, body: faults.get(number, "")
    said = [f"{thought}I cannot" for thought in THOUGHTS] + ["<think>Well, no"]
    endpoint.write = lambda body: said[(len(endpoint.bodies) - 1) % 4]
    assert drawn(config, 8, requests=1) == ["I cannot", "", "", "", *["I cannot"] * 3, ""]


def test_what_is_cut_off_is_empty_unless_a_stop_string_ends_it(config, endpoint):
    endpoint.finish = lambda body: "length"
    endpoint.write = lambda body: "One film and anoth"
    assert drawn(config, 2) == ["", ""]
    assert drawn(config, 2, stop=["film"]) == ["One", "One"]
    assert drawn(config, 2, chat=False) == ["One film and anoth"] * 2  # a base model goes on without end


def test_a_damaged_answer_is_asked_again(config, endpoint, caplog):
    texts = drawn(config, 4)
    file = Answers(endpoint.url, "fake").file
    content = file.read_bytes()
    for damaged in (content.replace(b'"tokens": 15', b'"tokens": 25', 1), content[:40] + content[-60:], content[:-20]):
        file.write_bytes(damaged)
        endpoint.bodies.clear()
        assert drawn(config, 4) == texts
        assert len(endpoint.bodies) > 0
    assert "an answer is damaged, and requested again" in caplog.text


def test_answers_that_are_removed_meanwhile_are_asked_again(config, endpoint, tmp_path):
    model = load_generator(config)

    def draw(rows):
        return texts_of(model.sample(torch.zeros(len(rows), dtype=torch.int64), row_seeds(0, 0, rows), None))

    first = draw(range(4))
    shutil.rmtree(tmp_path / "cache")
    assert draw(range(6))[:4] == first
    assert len(endpoint.bodies) == 6
    draw(range(8))
    stored = Answers(endpoint.url, "fake")
    stored.take_in()
    assert (len(stored.by_question), stored.tokens) == (4, model.answers.tokens)


def test_a_spent_budget_stops_a_run_which_goes_on_with_a_larger_one(config, endpoint, tmp_path):
    run(config, tmp_path / "whole")
    (tmp_path / "cache").rename(tmp_path / "earlier")
    endpoint.answered.clear()
    folder = tmp_path / "run"
    small, larger = (changed(config, f"generator.token_budget={budget}") for budget in (150, 10**6))
    with refusal(r"1[5-9]\d tokens are spent, generator.token_budget = 150 \(--set", Interrupted):
        run(small, folder)
    assert 10 <= sum(endpoint.answered.values()) <= 10 + 3  # what was in flight ends
    run(larger, folder, resume=True)
    assert set(endpoint.answered.values()) == {1}
    assert traces(folder) == traces(tmp_path / "whole")
    with refusal(r": training\.learning_rate differs"):  # not the budget, which may
        run(changed(larger, "training.learning_rate=0.5"), folder, resume=True)


def test_a_practice_goes_on_with_other_keys_of_the_connection(config, endpoint, tmp_path):
    section = config.generator.model_dump(exclude_unset=True)
    for changes in ({}, {"requests": 1, "token_budget": 10**6}):
        own = Practice(section | changes, [*SENTENCES], tmp_path / "own", initial=6, increment=2, candidates=2)
        assert len(own.pool) == 6


def test_the_key_is_sent_and_stands_nowhere(config, endpoint, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-unasked")
    keyed = changed(config, "generator.key=KEY_OF_THE_TEST")
    with monkeypatch.context() as patch, refusal("'openai' needs openai>=3: pip install .*endpoint", MissingError):
        patch.setattr("dp_base.imports.version_of", {"openai": "2.0", "httpx2": "2.0"}.get)
        drawn(config, 1)
    with monkeypatch.context() as patch, refusal("'openai' needs openai: pip install .*endpoint", MissingError):
        patch.setattr("dp_base.imports.requirements", lambda extra: [])  # as a checkout that is not installed
        patch.setitem(sys.modules, "openai", None)
        drawn(config, 1)
    with refusal("'KEY_OF_THE_TEST': that environment variable is not set", MissingError):
        run(keyed, tmp_path / "run")
    assert "is not set" in str({need.problem for need in needs(keyed, tmp_path)})
    drawn(config, 1)
    monkeypatch.setenv("KEY_OF_THE_TEST", KEY)
    with caplog.at_level("DEBUG"):
        run(keyed, tmp_path / "run")
    sent = [headers["authorization"] for headers in endpoint.headers]
    assert (set(sent[:1]), set(sent[1:])) == ({"Bearer none"}, {f"Bearer {KEY}"})
    assert KEY not in caplog.text
    for path in [*(tmp_path / "run").rglob("*"), *(tmp_path / "cache").rglob("*")]:
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    endpoint.fault = lambda number, body: "401"
    with refusal(r"refuses the key in \$KEY_OF_THE_TEST: .*…", MissingError) as refused:
        drawn(keyed, 30)
    assert not re.search("sk-s|test", str(refused.value).partition("refuses")[2])


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("500", MissingError, "failed 2 times: Error code: 500.*its answers are stored"),
        ("trickle", MissingError, "failed 2 times: no answer within 0.5 seconds"),
        ("endless", MissingError, "failed 2 times: the answer has more than 100,000 bytes"),
        ("redirect", MissingError, "refuses a request: Error code: 307"),
        ("404", InputError, "has no model 'fake', or is not such an API"),
        ("400", InputError, "refuses a request.*generator.parameters = .* omits one"),
        ("no choices", MissingError, "gave 4 invalid answers, the last one {.*does it name an OpenAI-compatible API"),
    ],
)
def test_what_does_not_end_is_said_in_a_line(config, endpoint, fault, kind, message, patch):
    """What was answered before is kept."""
    patch("dp_real.text.models.endpoint.RETRIES", 1)
    patch("dp_real.text.models.endpoint.MAX_ANSWER", 10**5)
    endpoint.fault = lambda number, body: "" if number < 6 else fault
    with refusal(message, kind):
        drawn(config, 16)
    assert 6 <= sum(endpoint.answered.values()) <= 6 + 4
    endpoint.fault = lambda number, body: ""
    drawn(config, 16)
    assert list(endpoint.answered.values()) == [1] * 16


async def in_a_notebook(*arguments):
    return drawn(*arguments)


def test_a_notebook_and_what_the_environment_says_for_other_places(config, endpoint, monkeypatch):
    """An event loop runs in a notebook's cell. Proxies are for other machines, and headers for another API."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-secret: of another API")
    expected = drawn(config, 2)
    endpoint.answered.clear()
    Answers(endpoint.url, "fake").file.unlink()
    assert asyncio.run(in_a_notebook(config, 2)) == expected
    assert sum(endpoint.answered.values()) == 2
    assert not any("x-secret" in headers for headers in endpoint.headers)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("all_proxy", "socks://there", "with .*all_proxy.*: Unknown scheme"),
        ("SSL_CERT_FILE", "/no/file", "with .*SSL_CERT_FILE = /no/file: No such file"),
    ],
)
def test_proxies_and_certificates_that_cannot_be_are_told_beforehand(config, tmp_path, monkeypatch, name, value, told):
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv(name, value)
    elsewhere = changed(config, "generator.base_url=http://192.0.2.7/v1")
    (problem,) = (need.problem for need in needs(elsewhere, tmp_path) if need.problem)
    assert re.search(f"^no connection is possible {told}.*; mend or unset it$", problem)
    assert problem in done("doctor", status=3).err


def test_a_base_model_completes(config, endpoint):
    options = {"chat": False, "parameters": {"top_k": 5, "seed": "", "stop": ""}}
    assert all(drawn(config, 2, **options))
    assert len(endpoint.bodies) == 2
    for body in endpoint.bodies:
        assert body["prompt"] in {template.format(name) for name in SENTENCES for template in PROMPTS}
        assert body["top_k"] == 5
        assert not {"seed", "stop", "messages"} & set(body)


@pytest.mark.parametrize(
    ("setting", "message"),
    {
        **{f"base_url={url}": "base_url should be like http://localhost:8000/v1: " for url in NO_URLS},
        "parameters={seed=5}": "parameters has 'seed', which the row's own seed sets: leave it out",
        "parameters={stop=9}": "parameters has 'stop', which generator.stop sets: leave it out",
        "base_url=http://me:sk-secret@there/v1": "base_url should hold no key",
        "key=sk-secret": "key should be the name of an environment variable",
        "parameters={n=2}": "parameters has 'n'",
        "stop=['']": "stop.*at least 1 character",
    }.items(),
)
def test_settings_that_cannot_be(config, setting, message):
    with refusal(message) as raised:
        changed(config, f"generator.{setting}")
    assert "sk-secret" not in str(raised.value)
