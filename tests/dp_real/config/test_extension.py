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

from tests.commands import Answer
from tests.installed import EXAMPLE, install, install_example
from tests.source import ROOT

ANSWERS = "import json, sys; from tests.commands import dp; print(json.dumps([dp(words) for words in sys.argv[1:]]))"
RUN = "real run mine.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of mine.toml. The package lies in `site` beside it, as pip would leave it."""
    install_example(tmp_path / "site")
    shutil.copy(EXAMPLE / "clouds.toml", tmp_path / "mine.toml")
    return tmp_path


def answers(folder: Path, *commands: str) -> list[Answer]:
    """What `dp` answers to each command in that folder, in an interpreter that knows the package."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)])}
    asking = [sys.executable, "-W", "error", "-c", ANSWERS, *commands]
    done = subprocess.run(asking, cwd=folder, env=environment, text=True, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return [Answer(*answer) for answer in json.loads(done.stdout)]


def test_a_package_adds_kinds_and_an_arm(folder: Path):
    """Edited code of the data, which the generator imports, is noticed."""
    keys = {"data.source": "clouds", "generator.kind": "weather", "learner.kind": "layer"}
    running, comparing, unknown = answers(
        folder,
        f"{RUN} --out run --json",
        "real compare mine.toml --arms my-arm,static --seeds 2 --workers 1 --out compared --json",
        " ".join([RUN, *(f"--set {key}=none" for key in keys)]),
    )
    assert running.status == 0, running.err
    result = json.loads(running.out)
    assert (result["pool_size"], result["additions"]) == (18, 1)
    assert result["test_accuracy"] > 0.9  # what it learned is what the source shows
    assert result == json.loads((folder / "run" / "result.json").read_text())
    config = tomllib.loads((folder / "run" / "config.toml").read_text())
    assert (config["data"]["source"], config["generator"]) == ("clouds", {"kind": "weather", "width": 0.2})
    assert config["learner"] == {"kind": "layer", "bias": False}

    assert comparing.status == 0, comparing.err
    arms = json.loads(comparing.out)["arms"]
    assert [(row["series"], row["n_seeds"]) for row in arms] == [("my-arm", 2), ("static", 2)]
    for arm, omega in (("my-arm", 0.05), ("static", 0.1)):
        runs = [tomllib.loads(path.read_text()) for path in folder.glob(f"compared/runs/{arm}*/*.toml")]
        assert {each["guidance"]["omega"] for each in runs} == {omega}

    assert (unknown.status, unknown.out) == (2, "")
    (line,) = unknown.err.splitlines()
    for key, new in keys.items():
        assert re.search(rf"{key} = 'none': should be one of [^;]*'{new}'", line)

    file = folder / "site" / "cloud_data.py"
    file.write_text(file.read_text().replace("(-1.0, 0.0)", "(-2.0, 0.0)"))
    (resuming,) = answers(folder, "real resume run")
    assert resuming.status == 2
    for what in ("code of the generator", "code of the data", "test set"):
        assert f"the {what} changed since run began" in resuming.err
    assert "the code of the learner" not in resuming.err


def test_a_kind_that_cannot_be_loaded_says_why(folder: Path):
    """Also one whose module ends the process."""
    broken = "[deliberate_practice.data]\nclouds = no_such_module\n[deliberate_practice.arms]\nmy-arm = leaves\n"
    install(folder / "site", "clouds", {"leaves.py": "import sys\nsys.exit(0)\n"}, broken)
    running, comparing = answers(folder, RUN, "real compare digits --arms my-arm,static")
    assert (running.status, comparing.status) == (3, 3)
    assert "data: 'clouds' cannot be loaded: no_such_module: ModuleNotFoundError" in running.err
    assert "arms: 'my-arm' cannot be loaded: leaves: SystemExit" in comparing.err
