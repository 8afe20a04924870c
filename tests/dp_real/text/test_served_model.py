"""generator.kind = "openai" against the server of transformers, with a tiny model of random weights."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from transformers.generation.configuration_utils import GenerationConfig

from dp_real import Run, run
from dp_real.text.codes import texts_of
from dp_real.text.models.answers import Answers
from tests.dp_real.runs.folders import traces
from tests.dp_real.text.made import endpoint_config, language_model, text_folder
from tests.waiting import until

PATIENCE = 180  # seconds until the server answers
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    text_folder(folder / "texts", repeat=2)
    language_model(folder / "lm")
    GenerationConfig(do_sample=True, eos_token_id=0, pad_token_id=1).save_pretrained(folder / "lm")
    return folder


@pytest.fixture(scope="module")
def url(folder):
    """A server of the model, which reaches nothing else."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = "from transformers.cli.transformers import main; main()"
    options = ["serve", f"{folder}/lm", "--port", str(port), "--host", "127.0.0.1", "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (
        open(folder / "server.log", "w+") as log,
        subprocess.Popen([sys.executable, "-c", start, *options], env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            until(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/health"), PATIENCE)
            assert process.poll() is None, Path(log.name).read_text()
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def answers(url):
    try:
        urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def test_a_run_against_a_real_server(url, folder, tmp_path, patch):
    """It ends, counts the tokens, and repeats itself without asking again."""
    model = f"{folder}/lm"
    # With random weights it seldom ends by itself, which a chat should.
    asked = {"prompts": ["A {} of a film."], "chat": False, "requests": 2}
    config = endpoint_config(url, model, folder / "texts", **asked)
    result = run(config, tmp_path / "run")
    texts = texts_of(Run(tmp_path / "run").pool.x)
    assert len(texts) == result["pool_size"] >= 12
    assert all(texts)
    assert len(set(texts)) > 6  # a row's seed is heard
    kept = Answers(url, model)
    kept.take_in()
    assert kept.tokens > 3 * result["samples_generated"]
    patch("openai.AsyncOpenAI", lambda **options: pytest.fail("it asks again"))
    run(config, tmp_path / "again")
    assert traces(tmp_path / "again") == traces(tmp_path / "run")
