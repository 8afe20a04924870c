"""generator.kind = "openai" against the server of transformers, with a tiny model of random weights."""

import os
import socket
import subprocess
import sys
from contextlib import suppress
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


@pytest.fixture
def folder(tmp_path):
    """With texts, and a model."""
    text_folder(tmp_path / "texts", repeat=2)
    language_model(tmp_path / "lm")
    GenerationConfig(do_sample=True, eos_token_id=0, pad_token_id=1).save_pretrained(tmp_path / "lm")
    return tmp_path


@pytest.fixture
def url(folder):
    """A server of the model, which reaches nothing else."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start = "from transformers.cli.transformers import main; main()"
    options = ["serve", f"{folder}/lm", "--port", str(port), "--host", "127.0.0.1", "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def answers():
        assert process.poll() is None
        with suppress(OSError):
            urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return True

    with subprocess.Popen([sys.executable, "-c", start, *options], env=environment) as process:
        try:
            until(answers, PATIENCE)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def test_a_run_against_a_real_server(url, folder, patch):
    """It ends, counts the tokens, and repeats itself without asking again."""
    model = f"{folder}/lm"
    # With random weights it seldom ends by itself, which a chat should.
    asked = {"prompts": ["A {} of a film."], "chat": False, "requests": 2}
    config = endpoint_config(url, model, folder / "texts", **asked)
    result = run(config, folder / "run")
    texts = texts_of(Run(folder / "run").pool.x)
    assert len(texts) == result["pool_size"] >= 12
    assert all(texts)
    assert len(set(texts)) > 6  # a row's seed is heard
    kept = Answers(url, model)
    kept.take_in()
    assert kept.tokens > 3 * result["samples_generated"]
    patch("openai.AsyncOpenAI", lambda **options: pytest.fail("it asks again"))
    run(config, folder / "again")
    assert traces(folder / "again") == traces(folder / "run")
