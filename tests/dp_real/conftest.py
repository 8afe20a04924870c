"""A digits run small enough for a test: a generator trained for 400 steps, kept in the cache of all tests."""

from pathlib import Path

import pytest

from dp_real.config import Config, parse_config
from dp_real.examples import RealData
from dp_real.protocols import Generator
from dp_real.runs.prepare import load_generator

SMALL = {
    "name": "small",
    "threads": 1,
    "data": {"source": "digits"},
    "generator": {"kind": "denoiser", "width": 64, "blocks": 1, "train_steps": 400},
    "sampling": {"steps": 8, "block_size": 32},
    "guidance": {"omega": 0.05},
    "learner": {"kind": "mlp"},
    "training": {"steps": 120, "learning_rate": 3e-3},
    "practice": {"initial": 60, "increment": 40, "additions": 2, "patience": 1, "evaluate_every": 10},
}


@pytest.fixture(scope="session")
def config() -> Config:
    return parse_config(SMALL)


@pytest.fixture(scope="session")
def data(config: Config) -> RealData:
    return config.data.load()


@pytest.fixture(scope="session")
def generator(config: Config, data: RealData, cache: Path) -> Generator:
    return load_generator(config, data)
