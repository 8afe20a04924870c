"""A digits run small enough for a test: a generator trained for 400 steps, kept in the cache of all tests."""

import shutil
import tomllib
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

from dp_base.errors import warn_once
from dp_real import run
from dp_real.config import parse_config
from dp_real.config.load import override_key
from dp_real.practice.rounds import Rounds
from dp_real.runs.prepare import load_generator
from tests.dp_real.runs.folders import dying

SMALL = tomllib.loads("""
name = "small"
threads = 1
data = { source = "digits" }
generator = { kind = "denoiser", training = "light" }
sampling = { steps = 8, block_size = 32 }
guidance = { omega = 0.05 }
learner = { kind = "mlp" }
training = { steps = 120, learning_rate = 3e-3 }
practice = { initial = 60, increment = 40, additions = 2, patience = 1, evaluate_every = 10 }
""")


@contextmanager
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


CONTEXTS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": partial(torch.autocast, "cpu", torch.bfloat16),
    "float64": float64,
    "another device": partial(torch.device, "meta"),
}
"""What a program may have set in torch around a call of ours."""


def changed(config, *settings, **changes):
    """The configuration with other values, as --set has them, or other values of some keys of its sections."""
    raw = config.model_dump()
    raw |= {key: raw[key] | new if isinstance(new, dict) else new for key, new in changes.items()}
    for setting in settings:
        override_key(raw, setting)
    return parse_config(raw)


@pytest.fixture(autouse=True)
def warned():
    """Each test is warned anew."""
    warn_once.cache_clear()


@pytest.fixture(scope="session")
def config():
    return parse_config(SMALL)


@pytest.fixture(scope="session")
def data(config):
    return config.data.load()


@pytest.fixture(scope="session")
def generator(config, data):
    return load_generator(config, data)


@pytest.fixture(scope="session")
def unbroken(config, tmp_path_factory):
    """The folder of a complete run of `config`. Tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    run(config, folder)
    return folder


@pytest.fixture(scope="session")
def broken_off(config, tmp_path_factory):
    """The folder of a run of `config` that died at step 95, after both additions, far from its last checkpoint."""
    folder = tmp_path_factory.mktemp("runs") / "broken"
    with dying(95):
        run(config, folder)
    return folder


@pytest.fixture
def copied(broken_off, tmp_path):
    """A copy of the run that died, which a test may change."""
    return Path(shutil.copytree(broken_off, tmp_path / "run"))


@pytest.fixture
def hub(tmp_path_factory, patch):
    """Where `hf download org/name --repo-type dataset` leaves a set; nothing is there yet, and there is no network."""
    cache = tmp_path_factory.mktemp("hub")
    patch("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    patch("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit = "0" * 40
    for place in ("refs", "snapshots"):
        (cache / "datasets--org--name" / place).mkdir(parents=True)
    (cache / "datasets--org--name/refs/main").write_text(commit)
    return cache / "datasets--org--name/snapshots" / commit


@pytest.fixture
def drawn(patch):
    """Of each block that is drawn, not taken from elsewhere: its round, its first row, and how many it has."""
    blocks, table = [], Rounds._table

    def noted(self, index, first, labels, *rest, **facts):
        blocks.append((index, first, len(labels)))
        return table(self, index, first, labels, *rest, **facts)

    patch("dp_real.practice.rounds.Rounds._table", noted)
    return blocks


@pytest.fixture
def complete(unbroken, tmp_path):
    """A copy of the complete run, which a test may change."""
    return Path(shutil.copytree(unbroken, tmp_path / "run"))
