"""Another package, that of examples/clouds, adds a source of data, a generator, a learner and an arm."""

import json
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from dp_real.config.arms import ARMS
from dp_real.data import DATA
from dp_real.generators import GENERATORS
from dp_real.learners import LEARNERS
from tests.commands import done, refused, told
from tests.installed import EXAMPLE, install, install_example

RUN = "real run mine.toml"


@pytest.fixture(autouse=True)
def installed(here, monkeypatch):
    """The package lies where pip leaves it, in `site`, and nothing of it is loaded. `here` has its mine.toml."""
    for registry in (DATA, GENERATORS, LEARNERS, ARMS):
        _ = [*registry]  # it has searched
        for name, value in {"_kinds": dict(registry._kinds), "_broken": {}, "_searched": False}.items():
            monkeypatch.setattr(registry, name, value)
    for file in EXAMPLE.glob("*.py"):
        monkeypatch.delitem(sys.modules, file.stem, raising=False)
    install_example(here / "site")
    monkeypatch.syspath_prepend(here / "site")
    shutil.copy(EXAMPLE / "clouds.toml", here / "mine.toml")


def test_a_package_adds_kinds_and_an_arm():
    """Edited code of the data, which the generator imports, is noticed."""
    result = told(RUN, "--out run")
    assert (result["pool_size"], result["additions"]) == (18, 1)
    assert result["test_accuracy"] > 0.9  # what it learned is what the source shows
    assert result == json.loads(Path("run/result.json").read_text())
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert (config["data"]["source"], config["generator"]) == ("clouds", {"kind": "weather", "width": 0.2})
    assert config["learner"] == {"kind": "layer", "bias": False}

    words = "--arms my-arm,static --seeds 2 --workers 1 --out compared"
    arms = told("real compare mine.toml", words)["arms"]
    assert [(row["series"], row["n_seeds"]) for row in arms] == [("my-arm", 2), ("static", 2)]
    for arm, omega in (("my-arm", 0.05), ("static", 0.1)):
        runs = [tomllib.loads(path.read_text()) for path in Path("compared/runs").glob(f"{arm}*/*.toml")]
        assert {each["guidance"]["omega"] for each in runs} == {omega}

    file = Path("site/cloud_data.py")
    file.write_text(file.read_text().replace("(-1.0, 0.0)", "(-2.0, 0.0)"))
    err = done("real resume run", status=2).err
    for what in ("code of the generator", "data code"):
        assert f"the {what} changed since run began" in err
    assert "the code of the learner" not in err


def test_a_kind_that_there_is_not_is_told_the_new_ones():
    keys = {"data.source": "clouds", "generator.kind": "weather", "learner.kind": "layer"}
    line = refused(RUN, *(f"--set {key}=none" for key in keys))
    for key, new in keys.items():
        assert re.search(rf"{key} = 'none': should be one of [^;]*'{new}'", line)


def test_a_kind_that_cannot_be_loaded_says_why():
    """Also one whose module ends the process."""
    broken = "[deliberate_practice.data]\nclouds = no_such_module\n[deliberate_practice.arms]\nmy-arm = leaves\n"
    install(Path("site"), "clouds", {"leaves.py": "import sys\nsys.exit(0)\n"}, broken)
    said = "data: 'clouds' cannot be loaded: no_such_module: ModuleNotFoundError"
    assert said in refused(RUN, status=3)
    said = "arms: 'my-arm' cannot be loaded: leaves: SystemExit"
    assert said in refused("real compare digits --arms my-arm,static", status=3)
