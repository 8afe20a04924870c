"""`dp theory practice`: what it prints and writes, and how it refuses."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.experiments.conftest import Theory

REFERENCE = ("--alpha", 0.3, "--phi", 0.5, "--lam", 0.01, "--increment", 2, "--candidates")


def test_json_is_the_reference_loop(theory: Theory):
    """R11 of the theory's reference values, one object on stdout."""
    answer = json.loads(theory("practice", "--rounds", 3, *REFERENCE, "--json").done())
    errors = [stage["test_error"] for stage in answer["stages"]]
    assert errors == pytest.approx([0.203146, 0.139504, 0.101217, 0.077529], abs=5.1e-7)
    assert [stage["candidates_per_d"] for stage in answer["stages"]] == pytest.approx([2, 6, 10, 14])
    assert answer["exponents"] == []


def test_writes_tables_and_a_picture(theory: Theory, tmp_path: Path):
    out = tmp_path / "new"
    theory("practice", "--rounds", 4, "--trials", 3, "--d", 40, "--out", out).done()
    written = {path.name for path in out.iterdir()}
    assert written == {"stages.csv", "exponents.csv", "practice.csv", "practice.png", "practice.pdf"}
    curves = pd.read_csv(out / "practice.csv")
    assert set(curves["kind"]) == {"predicted"}
    assert curves["series"].nunique() == 6


def test_one_experiment_has_no_z(theory: Theory):
    loop = ("--rounds", 1, "--phi", 0.1, "--lam", 0.1, "--rule", "keep-easy", "--alpha", 3)
    answer = json.loads(theory("practice", *loop, "--trials", 1, "--d", 20, "--json").done())
    assert [stage["z"] for stage in answer["stages"]] == [None, None]


def test_self_verification_and_other_losses(theory: Theory, tmp_path: Path):
    loop = ("--rounds", 2, "--rule", "self-verify", "--flip", 0.1, "--lam", 0.01)
    assert len(json.loads(theory("practice", *loop, "--json").done())["stages"]) == 3
    logistic = ("--rounds", 1, *REFERENCE, "--loss", "logistic", "--out", tmp_path / "new", "--json")
    answer = json.loads(theory("practice", *logistic).done())
    assert [stage["test_error"] for stage in answer["stages"]] == pytest.approx([0.17463, 0.11090], abs=2e-4)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["stages.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rule medium", "unknown rule 'medium'"),
        ("--alpha 0.5 --window 1", "for keep-hard without --alpha"),
        ("--candidates", "leave out --candidates"),
    ],
)
def test_bad_input_is_refused(theory: Theory, arguments: str, message: str):
    assert message in theory("practice", *arguments.split()).refused()
