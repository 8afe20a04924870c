"""The runs that tests of the commands share."""

import json
import shutil
from pathlib import Path

import pytest
from dp_experiments.presets.presets import load_preset

from dp_base.files import atomic_folder
from dp_base.locks import locked_beside
from tests.commands import done
from torture.attempt import SMALL

GUIDED = """
    --set generator.training=light
    --set sampling.steps=6
    --set training.steps=120
    --set training.learning_rate=0.003
    --set practice.initial=40
    --set practice.increment=20
    --set practice.additions=2
    --set practice.patience=1
    --set practice.evaluate_every=5
    --set guidance.omega=0.04
"""
"""The settings of `guided_run`: a generator that draws digits, and a learner that knows some of them."""
COMPARED = "--arms practice,static-60,static --seeds 2 --splits 1 --first 1 --baseline static-60"
"""The options of `compared`."""
ODD_NAME = "a <b> & 'c'"
"""A folder's name, which must be escaped in HTML and in the shell."""


def left_by_run(folder, preset="digits", **result):
    """What a run of a preset leaves, as far as tables and plots read it; no result if it is not complete."""
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(load_preset(preset).to_toml())
    if result:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


@pytest.fixture(scope="session")
def made_by(cache, tmp_path_factory):
    """A function that gives a copy of what a command writes, which runs in one of the processes of pytest-xdist."""

    def made(name, *command):
        kept = cache.parent / "made" / name
        with locked_beside(kept, wait=True):
            if not kept.exists():
                with atomic_folder(kept) as staged:
                    done(*command, "--out", staged / ODD_NAME)
        return Path(shutil.copytree(kept / ODD_NAME, tmp_path_factory.mktemp(name) / ODD_NAME))

    return made


@pytest.fixture(scope="session")
def guided_run(made_by):
    """A complete run of digits with seed 3 and two guided additions. Tests copy it before they change anything."""
    return made_by("guided", "real run digits --seed 3", GUIDED)


@pytest.fixture
def copied(guided_run, tmp_path):
    """A copy of the guided run that a test may change."""
    return Path(shutil.copytree(guided_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def text_run(made_by):
    """A complete run of texts whose labels are soft. Tests copy it before they change anything."""
    settings = "--set training.steps=20 --set pool.soft_labels=true --set pool.distinct=0.0"
    return made_by("texts", "real run text-own-smoke", settings)


@pytest.fixture
def compared(made_by):
    """A comparison of three arms of digits, which the test may change."""
    return made_by("compared", "real compare", *SMALL, COMPARED, "--workers 1")
