"""Another package, that of examples/clouds, adds a source of data, a generator, a learner and an arm."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.installed import EXAMPLE, install, install_example


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of mine.toml. The package lies in `site` beside it, as pip would leave it."""
    install_example(tmp_path / "site")
    shutil.copy(EXAMPLE / "clouds.toml", tmp_path / "mine.toml")
    return tmp_path


def start(folder: Path, *arguments: str, installed: bool = True) -> subprocess.Popen[str]:
    """Start `dp ARGUMENTS` in that folder, in an interpreter of its own."""
    root = str(Path(__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "site"), root] if installed else [root])}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", "from dp_experiments.cli.main import main; main()", *arguments],
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


def test_edited_code_of_a_kind_is_noticed(folder: Path):
    """Of the generator, and of what it imports beside it, which is the data."""
    finish(start(folder, "real", "run", "mine.toml", "--out", "run"))
    file = folder / "site" / "cloud_data.py"
    file.write_text(file.read_text().replace("(-1.0, 0.0)", "(-2.0, 0.0)"))
    _, err = finish(start(folder, "real", "resume", "run"), status=2)
    for what in ("code of the generator is", "code of the data is", "test set is"):
        assert f"the {what} not what it was when run began" in err
    assert "the code of the learner" not in err


@pytest.mark.parametrize(
    ("section", "key", "kinds"),
    [
        (
            "data",
            "source",
            "'digits', 'fashion', 'glyphs', 'gaussian', 'folder', 'stand-in', 'text', 'words', "
            "'stand-in-text', 'reviews', 'clouds'",
        ),
        (
            "generator",
            "kind",
            "'denoiser', 'latent', 'diffusers', 'gaussian', 'function', 'char-lm', 'causal-lm', 'packed-lm', 'openai', "
            "'weather'",
        ),
        (
            "learner",
            "kind",
            "'mlp', 'conv', 'transformers', 'linear', 'bag-of-words', 'ngrams', 'packed-text', 'transformers-text', "
            "'layer'",
        ),
    ],
)
def test_a_kind_that_there_is_not_is_told_the_new_ones(folder: Path, section: str, key: str, kinds: str):
    process = start(folder, "real", "run", "mine.toml", "--set", f"{section}.{key}=none")
    out, err = finish(process, status=2)
    assert out == ""
    assert err.splitlines() == [
        f"dp: mine.toml --set {section}.{key}=…: {section}.{key} = 'none': should be one of {kinds}"
    ]


BROKEN = """\
[deliberate_practice.data]
clouds = no_such_module
[deliberate_practice.arms]
my-arm = no_such_module
"""


def test_a_kind_that_cannot_be_loaded_says_why(folder: Path):
    install(folder / "site", "clouds", {}, BROKEN)
    _, err = finish(start(folder, "real", "run", "mine.toml"), status=3)
    assert "data: 'clouds' cannot be loaded: no_such_module: ModuleNotFoundError" in err
    _, err = finish(start(folder, "real", "compare", "digits", "--arms", "my-arm,static"), status=3)
    assert "arms: 'my-arm' cannot be loaded" in err


def test_a_package_that_ends_the_process_is_named_and_passed_over(folder: Path):
    install(
        folder / "site",
        "clouds",
        {"leaves.py": "import sys\nsys.exit(0)\n"},
        BROKEN.replace("no_such_module", "leaves"),
    )
    out, _ = finish(start(folder, "real", "keys", "digits"))
    assert out
    _, err = finish(start(folder, "real", "run", "mine.toml"), status=3)
    assert "data: 'clouds' cannot be loaded: leaves: SystemExit" in err


def test_without_the_package_they_are_not_known(folder: Path):
    _, err = finish(start(folder, "real", "run", "mine.toml", installed=False), status=2)
    assert "data.source = 'clouds': should be one of 'digits'" in err
    _, err = finish(start(folder, "real", "compare", "mine.toml", "--arms", "my-arms,static"), status=2)
    assert "unknown arm 'my-arms': one of practice," in err
    assert "covariance, my-arm, probe" in err
