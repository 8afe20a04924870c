"""`dp theory practice`: what it prints and writes, and how it refuses."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.experiments.conftest import Answer, Theory

REFERENCE = ("--alpha", 0.3, "--phi", 0.5, "--lam", 0.01, "--increment", 2, "--candidates")


@pytest.fixture
def practice(theory: Theory) -> Theory:
    """Runs `dp theory practice ARGUMENTS`."""

    def run(*arguments: object) -> Answer:
        return theory("practice", *arguments)

    return run


def test_json_is_the_reference_loop(practice: Theory):
    """R11 of the theory's reference values, one object on stdout."""
    answer = json.loads(practice("--rounds", 3, *REFERENCE, "--json").done())
    errors = [stage["test_error"] for stage in answer["stages"]]
    assert errors == pytest.approx([0.203146, 0.139504, 0.101217, 0.077529], abs=5.1e-7)
    assert [stage["candidates_per_d"] for stage in answer["stages"]] == pytest.approx([2, 6, 10, 14])
    assert answer["exponents"] == []
    assert len(answer["row_errors"]) == 3 * 4


def test_writes_tables_and_pictures(practice: Theory, tmp_path: Path):
    out = tmp_path / "new"
    printed = practice("--rounds", 4, "--trials", 3, "--d", 40, "--out", out).done()
    written = {path.name for path in out.iterdir()}
    pictures = {f"{name}.{ending}" for name in ("practice", "rows") for ending in ("csv", "png", "pdf")}
    assert written == pictures | {"stages.csv", "exponents.csv"}
    assert all(str(out / name) in printed for name in written)
    curves = pd.read_csv(out / "practice.csv")
    assert set(curves["kind"]) == {"predicted", "simulated"}
    assert curves["series"].nunique() == 6
    assert "not empty" in practice("--rounds", 1, "--out", out).refused()


def test_rows_that_are_hardly_ever_wrong_have_no_error_and_the_rest_is_shown(practice: Theory):
    """Where no experiment had such a row there is no number, and one experiment has no z."""
    loop = ("--rounds", 1, "--phi", 0.1, "--lam", 0.1, "--rule", "keep-easy", "--alpha", 3)
    answer = json.loads(practice(*loop, "--trials", 1, "--d", 20, "--json").done())
    assert [row["y"] for row in answer["row_errors"]] == [None] * 4
    assert [stage["z"] for stage in answer["stages"]] == [None, None]
    assert answer["stages"][1]["test_error"] == pytest.approx(0.1007, abs=5e-5)


@pytest.mark.parametrize(
    ("loop", "files"),
    [
        ("--rounds 1 --loss logistic --lam 0.1", {"stages.csv"}),
        ("--rounds 1 --phi 0.05 --rule keep-easy --alpha 2", {"stages.csv", "rows.csv"}),  # no error to draw
    ],
)
def test_what_has_no_picture_is_written_all_the_same(practice: Theory, tmp_path: Path, loop: str, files: set[str]):
    out = tmp_path / "new"
    assert "stages.csv" in practice(*loop.split(), "--out", out).done()
    assert {path.name for path in out.iterdir()} == files
    assert len(pd.read_csv(out / "stages.csv")) == 2


def test_rounds_are_shown_in_turn(practice: Theory):
    lines = practice("--rounds", 10, "--alpha", 0.5, "--trials", 2, "--d", 20).done().splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith("series\t"))
    shown = [line.split("\t")[:2] for line in lines[begin + 1 : begin + 21]]
    assert shown == [[f"round {number}", kind] for number in range(1, 11) for kind in ("predicted", "simulated")]


def test_self_verification_has_no_wrong_rows_to_follow(practice: Theory):
    loop = ("--rounds", 2, "--rule", "self-verify", "--flip", 0.1, "--lam", 0.01)
    answer = json.loads(practice(*loop, "--json").done())
    assert answer["row_errors"] == []
    assert len(answer["stages"]) == 3


def test_other_losses(practice: Theory):
    answer = json.loads(practice("--rounds", 1, *REFERENCE, "--loss", "logistic", "--json").done())
    assert [stage["test_error"] for stage in answer["stages"]] == pytest.approx([0.17463, 0.11090], abs=2e-4)
    assert answer["exponents"] == []
    assert answer["row_errors"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rule medium", "unknown rule 'medium'"),
        ("--alpha 0.5 --window 1", "for keep-hard without --alpha"),
        ("--candidates", "leave out --candidates"),
    ],
)
def test_bad_input_is_refused(practice: Theory, arguments: str, message: str):
    assert message in practice(*arguments.split()).refused()
