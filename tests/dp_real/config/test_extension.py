"""Another package, that of examples/clouds, adds a source of data, a generator, a learner and an arm."""

import json
import os
import re
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
    """Edited code of the data, which the generator imports, is noticed."""
    running = start(folder, "real", "run", "mine.toml", "--out", "run", "--json")
    options = ("--arms", "my-arm,static", "--seeds", "2", "--workers", "1", "--out", "compared", "--json")
    comparing = start(folder, "real", "compare", "mine.toml", *options)
    result = json.loads(finish(running)[0])
    assert (result["pool_size"], result["additions"]) == (18, 1)
    assert result["test_accuracy"] > 0.9  # what it learned is what the source shows
    assert result == json.loads((folder / "run" / "result.json").read_text())
    config = tomllib.loads((folder / "run" / "config.toml").read_text())
    assert (config["data"]["source"], config["generator"]) == ("clouds", {"kind": "weather", "width": 0.2})
    assert config["learner"] == {"kind": "layer", "bias": False}

    arms = json.loads(finish(comparing)[0])["arms"]
    assert [(row["series"], row["n_seeds"]) for row in arms] == [("my-arm", 2), ("static", 2)]
    for arm, omega in (("my-arm", 0.05), ("static", 0.1)):
        runs = [tomllib.loads(path.read_text()) for path in folder.glob(f"compared/runs/{arm}*/*.toml")]
        assert {each["guidance"]["omega"] for each in runs} == {omega}

    file = folder / "site" / "cloud_data.py"
    file.write_text(file.read_text().replace("(-1.0, 0.0)", "(-2.0, 0.0)"))
    _, err = finish(start(folder, "real", "resume", "run"), status=2)
    for what in ("code of the generator", "code of the data", "test set"):
        assert f"the {what} changed since run began" in err
    assert "the code of the learner" not in err


def test_a_kind_that_there_is_not_is_told_the_new_ones(folder: Path):
    keys = {"data.source": "clouds", "generator.kind": "weather", "learner.kind": "layer"}
    process = start(folder, "real", "run", "mine.toml", *(word for key in keys for word in ("--set", f"{key}=none")))
    out, err = finish(process, status=2)
    assert out == ""
    (line,) = err.splitlines()
    for key, new in keys.items():
        assert re.search(rf"{key} = 'none': should be one of [^;]*'{new}'", line)


def test_a_kind_that_cannot_be_loaded_says_why(folder: Path):
    """Also one whose module ends the process."""
    broken = "[deliberate_practice.data]\nclouds = no_such_module\n[deliberate_practice.arms]\nmy-arm = leaves\n"
    install(folder / "site", "clouds", {"leaves.py": "import sys\nsys.exit(0)\n"}, broken)
    running = start(folder, "real", "run", "mine.toml")
    comparing = start(folder, "real", "compare", "digits", "--arms", "my-arm,static")
    _, err = finish(running, status=3)
    assert "data: 'clouds' cannot be loaded: no_such_module: ModuleNotFoundError" in err
    _, err = finish(comparing, status=3)
    assert "arms: 'my-arm' cannot be loaded: leaves: SystemExit" in err
