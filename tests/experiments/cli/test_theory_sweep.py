"""`dp theory sweep`: its table and files, how it refuses."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.experiments.conftest import Theory, with_defaults

OF_SMALL: dict[str, object] = {"--d": 16, "--trials": 2, "--n": "8,40", "--workers": 1}
SMALL = with_defaults((), OF_SMALL)


def test_sweep_writes_its_table_and_pictures(theory: Theory, tmp_path: Path):
    folder = tmp_path / "new" / "folder"
    _, out, err = theory("sweep", "--rho", "0.5:0.9:2", "--rule", "keep-hard,random", *SMALL, "--out", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["sweep.csv", "sweep.pdf", "sweep.png"]
    table = pd.read_csv(folder / "sweep.csv")
    assert list(table.columns[:7]) == ["series", "kind", "x", "y", "y_low", "y_high", "n_seeds"]
    assert set(table["rho"]) == {0.5, 0.9}
    assert set(table.query("kind == 'simulated'")["x"]) == {8, 40}
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "sweep.pdf").read_bytes().startswith(b"%PDF")
    assert "largest |z|" in err
    assert str(folder / "sweep.csv") in out
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert "is not empty" in theory("sweep", *SMALL, "--out", folder).refused()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_sweep_json_is_one_object_with_winners(theory: Theory):
    answer = json.loads(theory("sweep", "--rule", "keep-hard,entropy@kappa=2", *SMALL, "--x", "kept", "--json").done())
    assert {row["rule"] for row in answer["table"]} == {"keep-all", "keep-hard", "entropy@kappa=2"}
    assert {"winners", "largest_z", "noise_level", "largest_se"} <= set(answer)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rho", "0:1"), "--rho '0:1' is malformed"),
        (("--lam", "0.1,,1"), "--lam '0.1,,1' is malformed"),
        (("--lam", "0:1:3"), "--lam '0:1:3' must start and stop above 0"),
        (("--alpha", "20"), "keep-easy cannot take part: all rules of a sweep keep 1, as keep-hard does at alpha = 20"),
        (("--rule", "keep-hard,best"), "unknown rule 'best'"),
        (("--x", "money"), "unknown axis 'money'"),
    ],
)
def test_mistakes_get_one_line_and_status_2(theory: Theory, arguments: tuple[str, ...], said: str):
    assert said in theory("sweep", *with_defaults(arguments, OF_SMALL)).refused()


def test_out_that_cannot_be_a_folder(theory: Theory, tmp_path: Path):
    (tmp_path / "file").touch()
    assert "cannot be written" in theory("sweep", *SMALL, "--out", tmp_path / "file").refused()


def test_a_command_that_fails_leaves_no_folder(theory: Theory, tmp_path: Path):
    assert theory("sweep", *SMALL, "--alpha", "nan", "--out", tmp_path / "new").status == 2
    assert theory("practice", "--phi", 2, "--out", tmp_path / "new").status == 2
    assert not (tmp_path / "new").exists()
