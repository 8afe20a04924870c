"""`dp theory classes`, and the figure of the same name."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from dp_base.errors import InputError
from dp_theory import classes_curves
from experiments.cli.theory.classes import classes_command
from experiments.paper.theory import fig_classes as figure


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(classes_command)

    def invoke(*arguments):
        result = CliRunner().invoke(app, [*arguments, "--tolerance", "0.05"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


def test_json_has_a_row_for_each_combination(run):
    found = json.loads(run("--classes", "2,3", "--kept", "1:4:2", "--rule", "random,entropy", "--lam", "0.1", "--json"))
    rows = pd.DataFrame(found["table"])
    assert len(rows) == 2 * 2 * 2
    assert set(rows["kept"]) == {1.0, 4.0}
    assert (rows["test_error_se"] <= 0.05 * rows["test_error"]).all()
    assert (rows["lam"] - 0.1).abs().max() < 1e-12


def test_writes_a_table_and_a_picture(run, tmp_path):
    sizes = "--trials", "3", "--d", "20", "--workers", "1"
    output = run("--classes", "3", "--kept", "2", "--rule", "keep-easy", *sizes, "--out", str(tmp_path / "new"))
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        f"classes.{ending}" for ending in ("csv", "png", "pdf")
    }
    assert str(tmp_path / "new" / "classes.png") in output
    assert {"simulated", "z", "lam"} <= set(pd.read_csv(tmp_path / "new" / "classes.csv"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--classes 2.5", "must be whole numbers"),
        ("--rule medium", "unknown rule 'medium'"),
        ("--by luck", "by = 'luck' must be"),
        ("--kept 0", "kept = 0 must be positive"),
        ("--keep 2", "keep = 2 must lie in"),
        ("--d -4", "d = -4 must be at least 1"),
        ("--rule random --kappa -3", "kappa = -3 must be positive"),
    ],
)
def test_bad_input_is_refused(run, arguments, message):
    with pytest.raises(InputError, match=message):
        run(*arguments.split())


def test_the_figure_holds_ratios_to_random_rows(monkeypatch):
    def quicker(classes: Sequence[int], *, kept: Sequence[float], tolerance: float, **options: Any) -> pd.DataFrame:
        return classes_curves(classes[:1], kept=kept[-1:], tolerance=5 * tolerance, **options)

    monkeypatch.setattr(figure, "CHECKED", (4.0,))
    monkeypatch.setattr(figure, "D", 30)
    monkeypatch.setattr(figure, "classes_curves", quicker)
    monkeypatch.setattr(figure, "CLASSES", (2,))
    table = figure.compute(quick=True)
    assert list(table.groupby("panel")["kind"].unique().map(list)) == [["predicted", "simulated"]] * 2
    last = table[table["kind"] == "predicted"].set_index("panel")["y"]
    assert last["keep-hard"] < 0.7 < 2 < last["keep-easy"]
    assert len(figure.draw(table).axes) == 2
    assert "with 2 classes" in figure.caption(table)
