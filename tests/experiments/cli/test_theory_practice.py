"""`dp theory practice`: what it prints and writes, and how it refuses."""

from pathlib import Path

import pandas as pd
import pytest

from tests.commands import done, told

REFERENCE = "--alpha 0.3 --phi 0.5 --lam 0.01 --increment 2 --candidates"


def test_json_is_the_reference_loop():
    """R11 of the theory's reference values, one object on stdout."""
    answer = told("theory practice --rounds 3", REFERENCE)
    errors = [stage["test_error"] for stage in answer["stages"]]
    assert errors == pytest.approx([0.203146, 0.139504, 0.101217, 0.077529], abs=5.1e-7)
    assert [stage["candidates_per_d"] for stage in answer["stages"]] == pytest.approx([2, 6, 10, 14])
    assert answer["exponents"] == []


def test_writes_tables_and_a_picture(tmp_path: Path):
    out = tmp_path / "new"
    done("theory practice --rounds 4 --trials 3 --d 40 --out", out)
    written = {path.name for path in out.iterdir()}
    assert written == {"stages.csv", "exponents.csv", "practice.csv", "practice.png", "practice.pdf"}
    curves = pd.read_csv(out / "practice.csv")
    assert set(curves["kind"]) == {"predicted"}
    assert curves["series"].nunique() == 6


def test_one_experiment_has_no_z():
    loop = "--rounds 1 --phi 0.1 --lam 0.1 --rule keep-easy --alpha 3"
    answer = told("theory practice", loop, "--trials 1 --d 20")
    assert [stage["z"] for stage in answer["stages"]] == [None, None]


def test_self_verification_and_other_losses(tmp_path: Path):
    loop = "--rounds 2 --rule self-verify --flip 0.1 --lam 0.01"
    assert len(told("theory practice", loop)["stages"]) == 3
    answer = told("theory practice --rounds 1", REFERENCE, "--loss logistic --out", tmp_path / "new")
    assert [stage["test_error"] for stage in answer["stages"]] == pytest.approx([0.17463, 0.11090], abs=2e-4)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["stages.csv"]
