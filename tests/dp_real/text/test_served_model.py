"""generator.kind = "openai" against the server of transformers, with a tiny model of random weights."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from transformers.generation.configuration_utils import GenerationConfig

from dp_real.runs.reader import Run
from dp_real.runs.run import run
from dp_real.text.codes import texts_of
from dp_real.text.models.answers import Answers
from tests.dp_real.runs.folders import traces
from tests.dp_real.text.made import endpoint_config, language_model, text_folder

PATIENCE = 180  # seconds until the server answers
pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    text_folder(folder / "texts", repeat=2)
    language_model(folder / "lm", chat=True)
    GenerationConfig(do_sample=True, eos_token_id=0, pad_token_id=1).save_pretrained(folder / "lm")
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """A server of the model, which reaches nothing else."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    port = free_port()
    start = "from transformers.cli.transformers import main; main()"
    options = ["serve", str(folder / "lm"), "--port", str(port), "--host", "127.0.0.1", "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = folder / "server.log"
    with open(log, "wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-c", start, *options], env=environment, stdout=written, stderr=subprocess.STDOUT
        )
    try:
        begin = time.monotonic()
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() - begin < PATIENCE, log.read_text()
            try:
                with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_a_run_against_a_real_server(url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It ends, counts the tokens, and repeats itself without asking again."""
    model = str(folder / "lm")
    # With random weights it seldom ends by itself, which a chat should.
    asked = {"prompts": ["A {} of a film."], "chat": False, "requests": 2}
    config = endpoint_config(url, model, folder / "texts", **asked)
    result = run(config, tmp_path / "run")
    texts = texts_of(Run(tmp_path / "run").pool.x)
    assert len(texts) == result["pool_size"] >= 12
    assert all(texts)
    assert len(set(texts)) > 6  # a row's seed is heard
    answers = Answers(url, model)
    answers.take_in()
    assert answers.tokens > 3 * result["samples_generated"]
    monkeypatch.setattr("openai.AsyncOpenAI", lambda **options: pytest.fail("it asks again"))
    run(config, tmp_path / "again")
    assert traces(tmp_path / "again") == traces(tmp_path / "run")
