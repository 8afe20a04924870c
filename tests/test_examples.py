"""The package of examples/clouds does what CONTRIBUTING.md says of it. Its kinds are tested in tests/dp_real/config."""

import sys
import tomllib

import numpy as np
import pandas as pd
import pytest

from dp_theory import Problem, SymmetricRule, predict
from dp_theory.rules import RULES, rule_names
from tests.commands import done, told
from tests.installed import EXAMPLE, install_example
from tests.source import FOLDERS

GUIDE = (EXAMPLE.parents[1] / "CONTRIBUTING.md").read_text()


@pytest.fixture
def installed(here, monkeypatch, patch):
    """The package, until the test ends."""
    install_example(here / "site")
    monkeypatch.syspath_prepend(here / "site")
    patch(RULES, "_kinds", dict(RULES._kinds))
    patch(RULES, "_searched", False)
    for module in ("bell_rule", "bell_figure"):
        monkeypatch.delitem(sys.modules, module, raising=False)


def predicted(keep):
    """The test error of its rule at this kept fraction, by a function that any rule may be."""
    alpha = keep**-2.0 - 1  # E exp(-alpha G²/2) = (1 + alpha)^-1/2
    return float(predict(Problem(SymmetricRule(lambda t: np.exp(-alpha * t**2 / 2)), 0.9, 0.5, 0.01)).test_error)


@pytest.mark.usefixtures("installed")
def test_its_rule_is_predicted_simulated_and_swept():
    where = "--rule bell --rho 0.9 --phi 0.5 --lam 0.01"
    by_keep, by_alpha = (told("theory predict", where, given) for given in ("--keep 0.5", "--alpha 3"))
    assert by_keep["keep_fraction"] == pytest.approx(0.5, rel=1e-14)
    assert by_keep["test_error"] == pytest.approx(predicted(0.5), rel=1e-12)
    assert by_keep == pytest.approx(by_alpha, rel=1e-12)
    runs = told("theory simulate", where, "--keep 0.5 --engine law --d 2000")
    assert abs(runs["test_error"] - predicted(0.5)) < 5 * runs["test_error_se"] < 0.02
    assert "bell" in rule_names("swept")
    swept = told("theory sweep --d 16 --trials 2 --n 8,40 --rule bell")["table"]
    assert ("direct", "bell") in {(row["strategy"], row["rule"]) for row in swept}


@pytest.mark.usefixtures("installed")
def test_its_figure_is_drawn_from_its_rule(tmp_path):
    done("figures fig-bell --quick --out", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "fig-bell.csv").query("kind == 'predicted'")
    assert table.set_index("x")["y"][0.4] == pytest.approx(predicted(0.4), rel=1e-10)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "The test error of the bell-shaped rule" in page


def test_the_guide_names_each_of_its_files_and_groups():
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    for group, entries in project["project"]["entry-points"].items():
        assert f"`{group}`" in GUIDE
        for module in entries.values():
            assert f"(examples/clouds/{module}.py)" in GUIDE
    assert {path.stem for path in EXAMPLE.glob("*.py")} == set(project["tool"]["setuptools"]["py-modules"])


def test_the_guide_names_the_rooms():
    for folder in FOLDERS.values():
        for path in folder.glob("*/__init__.py"):
            assert f"`{path.parent.name}`" in GUIDE
