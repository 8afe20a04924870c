"""The package of examples/clouds does what CONTRIBUTING.md says of it. Its kinds are tested in tests/dp_real/config."""

import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dp_theory import Problem, SymmetricRule, predict
from dp_theory.rules import RULES
from tests.commands import done
from tests.installed import EXAMPLE, install_example
from tests.source import FOLDERS

GUIDE = (EXAMPLE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package, until the test ends."""
    install_example(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(RULES, "_kinds", dict(RULES._kinds))
    for module in ("bell_rule", "bell_figure"):
        monkeypatch.delitem(sys.modules, module, raising=False)


@pytest.mark.usefixtures("installed")
def test_its_figure_is_drawn_from_its_rule(tmp_path: Path):
    done("figures fig-bell --quick --out", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "fig-bell.csv").query("kind == 'predicted'")
    alpha = 0.4**-2.0 - 1  # E exp(-alpha G²/2) = (1 + alpha)^-1/2
    same = predict(Problem(SymmetricRule(lambda t: np.exp(-alpha * t**2 / 2)), 0.9, 0.5, 0.01))
    assert table.set_index("x")["y"][0.4] == pytest.approx(same.test_error, rel=1e-10)
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "The test error of the bell-shaped rule" in page


def test_the_guide_names_each_of_its_files_and_groups():
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))
    for group, entries in project["project"]["entry-points"].items():
        assert f"`{group}`" in GUIDE
        for module in entries.values():
            assert f"(examples/clouds/{module}.py)" in GUIDE
    assert {path.stem for path in EXAMPLE.glob("*.py")} == set(project["tool"]["setuptools"]["py-modules"])


def test_the_guide_names_the_rooms():
    for folder in FOLDERS.values():
        rooms = [path.parent.name for path in folder.glob("*/__init__.py")]
        missing = [room for room in rooms if f"`{room}`" not in GUIDE]
        assert not missing, json.dumps(missing)
