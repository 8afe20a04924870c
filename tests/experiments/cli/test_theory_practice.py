"""`dp theory practice`: what it prints and writes, and how it refuses."""

import json

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from dp_base.errors import InputError
from experiments.cli.theory.practice import practice_command


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(practice_command)

    def invoke(*arguments):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


def test_json_is_the_reference_loop(run):
    """R11 of the theory's reference values, one object on stdout."""
    options = {"rounds": "3", "alpha": "0.3", "phi": "0.5", "lam": "0.01", "increment": "2"}
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    answer = json.loads(run(*flags, "--candidates", "--json"))
    errors = [stage["test_error"] for stage in answer["stages"]]
    assert errors == pytest.approx([0.203146, 0.139504, 0.101217, 0.077529], abs=5.1e-7)
    assert [stage["candidates_per_d"] for stage in answer["stages"]] == pytest.approx([2, 6, 10, 14])
    assert answer["exponents"] == []
    assert len(answer["row_errors"]) == 3 * 4


def test_writes_tables_and_pictures(run, tmp_path):
    output = run("--rounds", "4", "--trials", "3", "--d", "40", "--out", str(tmp_path / "new"))
    written = {path.name for path in (tmp_path / "new").iterdir()}
    pictures = {f"{name}.{ending}" for name in ("practice", "rows") for ending in ("csv", "png", "pdf")}
    assert written == pictures | {"stages.csv", "exponents.csv"}
    assert all(str(tmp_path / "new" / name) in output for name in written)
    curves = pd.read_csv(tmp_path / "new" / "practice.csv")
    assert set(curves["kind"]) == {"predicted", "simulated"}
    assert curves["series"].nunique() == 6
    with pytest.raises(InputError, match="not empty"):
        run("--rounds", "1", "--out", str(tmp_path / "new"))


def test_rows_that_are_hardly_ever_wrong_have_no_error_and_the_rest_is_shown(run):
    """Where no experiment had such a row there is no number, and one experiment has no z."""
    loop = ["--rounds", "1", "--phi", "0.1", "--lam", "0.1", "--rule", "keep-easy", "--alpha", "3"]
    answer = json.loads(run(*loop, "--trials", "1", "--d", "20", "--json"))
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
def test_what_has_no_picture_is_written_all_the_same(run, tmp_path, loop, files):
    assert "stages.csv" in run(*loop.split(), "--out", str(tmp_path / "new"))
    assert {path.name for path in (tmp_path / "new").iterdir()} == files
    assert len(pd.read_csv(tmp_path / "new" / "stages.csv")) == 2


def test_rounds_are_shown_in_turn(run):
    lines = run("--rounds", "10", "--alpha", "0.5", "--trials", "2", "--d", "20").splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("series\t"))
    shown = [line.split("\t")[:2] for line in lines[begin + 1 : begin + 21]]
    assert shown == [[f"round {k}", kind] for k in range(1, 11) for kind in ("predicted", "simulated")]


def test_self_verification_has_no_wrong_rows_to_follow(run):
    answer = json.loads(run(*["--rounds", "2", "--rule", "self-verify", "--flip", "0.1", "--lam", "0.01", "--json"]))
    assert answer["row_errors"] == []
    assert len(answer["stages"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rule medium", "unknown --rule 'medium'"),
        ("--alpha 0.5 --window 1", "give one"),
        ("--alpha -1", "alpha = -1 must be positive"),
        ("--alpha 1 --weight-power 2", "--weight-power is for --window"),
        ("--rule self-verify --alpha 1", "takes neither"),
        ("--rule keep-easy", "needs --alpha"),
        ("--candidates", "leave out --candidates"),
        ("--phi 2", "stage 0 has 1·n"),
        ("--rounds 2 --direct-cost -1", "direct cost = -1 must be at least 0"),
        ("--rounds 2 --d -5", "d = -5 must be at least 1"),
    ],
)
def test_bad_input_is_refused(run, arguments, message):
    with pytest.raises(InputError, match=message):
        run(*arguments.split())


def test_other_losses(run):
    flags = ["--rounds", "1", "--alpha", "0.3", "--phi", "0.5", "--lam", "0.01", "--increment", "2", "--candidates"]
    answer = json.loads(run(*flags, "--loss", "logistic", "--json"))
    assert [stage["test_error"] for stage in answer["stages"]] == pytest.approx([0.17463, 0.11090], abs=2e-4)
    assert answer["exponents"] == []
    assert answer["row_errors"] == []
    with pytest.raises(InputError, match="one of square, logistic, squared-hinge"):
        run(*flags, "--loss", "hinge")
