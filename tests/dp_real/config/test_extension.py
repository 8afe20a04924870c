"""Another package adds a source of data, a generator, a learner and an arm, each in a file."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.installed import install

FILES = {
    "cloud_data.py": '''\
"""Three clouds in the plane."""

from typing import Literal

from dp_real.data import DATA, DataConfig
from dp_real.examples import Examples, RealData, Task


@DATA.named("clouds")
class CloudsConfig(DataConfig):
    """Points about three centres."""

    source: Literal["clouds"]
    split: int = 0

    @property
    def task(self):
        return Task((2,), ("east", "north", "west"))

    def load(self):
        import torch

        y = torch.arange(120) % 3
        x = torch.tensor([[1.0, 0], [0, 1], [-1, 0]])[y]
        x = x + 0.2 * torch.randn(120, 2, generator=torch.Generator().manual_seed(self.split))
        validation, test = (Examples(x[rows], y[rows]) for rows in (slice(60), slice(60, 120)))
        return RealData(self.task, None, validation, test)
''',
    "cloud_generator.py": '''\
"""Points of the clouds; guided ones are moved once."""

from typing import Literal

from dp_real.generators import GENERATORS, GeneratorConfig


@GENERATORS.named("weather")
class WeatherConfig(GeneratorConfig):
    """The clouds as they are."""

    kind: Literal["weather"]
    width: float = 0.2

    def load(self, sampling, source, data=None, progress=None):
        return Weather(self.width, source.task)


class Weather:
    def __init__(self, width, task):
        self.width, self.sample_shape, self.n_classes = width, task.sample_shape, task.n_classes

    def sample(self, labels, seeds, guidance):
        import torch

        from dp_real.runtime.seeds import row_noise

        centres = torch.tensor([[1.0, 0], [0, 1], [-1, 0]])
        x = centres[labels] + self.width * row_noise(seeds, self.sample_shape)
        if guidance is None:
            return x
        with torch.enable_grad():
            leaf = x.requires_grad_()
            gradient = guidance.gradient(leaf, leaf)
        return guidance.move(x.detach(), gradient)

    def offload(self):
        pass
''',
    "cloud_learner.py": '''\
"""A single layer."""

from typing import Literal

from dp_real.learners import LEARNERS, LearnerConfig


@LEARNERS.named("layer")
class LayerConfig(LearnerConfig):
    """Logits that are linear in the example."""

    kind: Literal["layer"]
    bias: bool = True

    def network(self, task):
        from torch import nn

        return nn.Linear(task.sample_shape[0], task.n_classes, bias=self.bias)
''',
    "cloud_arms.py": '''\
"""An arm."""

from dp_real.config.arms import arm


@arm("my-arm", "the loop, at half its strength")
def half(config, samples):
    return {"guidance": {"omega": config.guidance.omega / 2}}
''',
}
ENTRY_POINTS = """\
[deliberate_practice.data]
clouds = cloud_data
[deliberate_practice.generators]
weather = cloud_generator
[deliberate_practice.learners]
layer = cloud_learner
[deliberate_practice.arms]
my-arm = cloud_arms
"""
MINE = """\
threads = 1
[data]
source = "clouds"
[generator]
kind = "weather"
[sampling]
steps = 4
[guidance]
omega = 0.1
[learner]
kind = "layer"
bias = false
[training]
steps = 40
batch_size = 8
learning_rate = 0.1
[practice]
initial = 12
increment = 6
additions = 1
patience = 1
evaluate_every = 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of mine.toml. The package lies in `site` beside it, as pip would leave it."""
    install(tmp_path / "site", "clouds", FILES, ENTRY_POINTS)
    (tmp_path / "mine.toml").write_text(MINE)
    return tmp_path


def start(folder: Path, *arguments: str, installed: bool = True) -> subprocess.Popen[str]:
    """Start `dp ARGUMENTS` in that folder, in an interpreter of its own."""
    root = str(Path(__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "site"), root] if installed else [root])}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", "from experiments.cli.main import main; main()", *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str], status: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, err
    return out, err


def test_a_package_adds_kinds_and_an_arm(folder: Path):
    running = start(folder, "real", "run", "mine.toml", "--out", "run", "--json")
    comparing = start(
        folder,
        "real",
        "compare",
        "mine.toml",
        "--arms",
        "my-arm,static",
        "--seeds",
        "2",
        "--workers",
        "1",
        "--out",
        "compared",
        "--json",
    )
    result = json.loads(finish(running)[0])
    assert (result["pool_size"], result["additions"]) == (18, 1)
    assert result["test_accuracy"] > 0.9  # what it learned is what the source shows
    assert result == json.loads((folder / "run" / "result.json").read_text())
    config = tomllib.loads((folder / "run" / "config.toml").read_text())
    assert (config["data"]["source"], config["generator"]) == ("clouds", {"kind": "weather", "width": 0.2})
    assert config["learner"] == {"kind": "layer", "bias": False}

    arms = json.loads(finish(comparing)[0])["arms"]
    assert [row["series"] for row in arms] == ["my-arm", "static"]
    assert [row["n_seeds"] for row in arms] == [2, 2]
    strengths = {
        arm: {
            tomllib.loads(path.read_text())["guidance"]["omega"] for path in folder.glob(f"compared/runs/{arm}*/*.toml")
        }
        for arm in ("my-arm", "static")
    }
    assert strengths == {"my-arm": {0.05}, "static": {0.1}}


@pytest.mark.parametrize(
    ("section", "key", "kinds"),
    [
        (
            "data",
            "source",
            "'digits', 'fashion', 'glyphs', 'gaussian', 'folder', 'stand-in', 'text', 'words', "
            "'stand-in-text', 'clouds'",
        ),
        (
            "generator",
            "kind",
            "'denoiser', 'latent', 'diffusers', 'gaussian', 'function', 'char-lm', 'causal-lm', 'weather'",
        ),
        ("learner", "kind", "'mlp', 'conv', 'transformers', 'linear', 'ngrams', 'transformers-text', 'layer'"),
    ],
)
def test_a_kind_that_there_is_not_is_told_the_new_ones(folder: Path, section: str, key: str, kinds: str):
    process = start(folder, "real", "run", "mine.toml", "--set", f"{section}.{key}=none")
    out, err = finish(process, status=2)
    assert out == ""
    assert err.splitlines() == [
        f"dp: mine.toml --set {section}.{key}=none: {section}.{key} = 'none': should be one of {kinds}"
    ]


BROKEN = """\
[deliberate_practice.data]
clouds = no_such_module
[deliberate_practice.arms]
my-arm = no_such_module
"""


def test_a_kind_that_cannot_be_loaded_says_why(folder: Path):
    install(folder / "site", "clouds", FILES, BROKEN)
    _, err = finish(start(folder, "real", "run", "mine.toml"), status=3)
    assert "data: 'clouds' cannot be loaded: no_such_module: ModuleNotFoundError" in err
    _, err = finish(start(folder, "real", "compare", "digits", "--arms", "my-arm,static"), status=3)
    assert "arms: 'my-arm' cannot be loaded" in err


def test_without_the_package_they_are_not_known(folder: Path):
    _, err = finish(start(folder, "real", "run", "mine.toml", installed=False), status=2)
    assert "data.source = 'clouds': should be one of 'digits'" in err
    _, err = finish(start(folder, "real", "compare", "mine.toml", "--arms", "my-arms,static"), status=2)
    assert "unknown arm 'my-arms': one of practice," in err
    assert "real, my-arm, each also as ARM-SAMPLES" in err
