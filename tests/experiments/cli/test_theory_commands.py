"""`dp theory …` as a person meets it: answers, files, and one line with the right status for every mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from dp_theory import Entropy, KeepEasy, KeepHard, Problem, predict, simulate
from dp_theory.verification import beyond, measured, theorem1
from experiments.cli.theory.options import values

PROBLEM = ("--rho", 0.8, "--phi", 0.5, "--lam", 0.01)
SMALL = ("--d", 16, "--trials", 2, "--n", "8,40", "--workers", 1)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--alpha", 0.7), KeepHard(0.7)),
        (("--alpha", "inf"), KeepHard(float("inf"))),
        (("--rule", "keep-easy", "--keep", 0.3), KeepEasy.with_keep_fraction(0.3)),
        (("--rule", "entropy", "--omega", -3, "--kappa", 2), Entropy(-3.0, 2.0)),
    ],
)
def test_predict_prints_what_the_package_returns(dp, options, rule):
    status, out, err = dp("predict", *PROBLEM, *options, "--json")
    assert (status, err) == (0, "")
    want = predict(Problem(rule, 0.8, 0.5, 0.01))
    answer = json.loads(out)
    assert answer == {key: pytest.approx(value, rel=1e-12) for key, value in vars(want).items()}
    assert {"test_error", "overlap", "squared_norm", "keep_fraction"} <= set(answer)


def test_predict_piped_is_plain_lines(dp):
    status, out, _ = dp("predict", *PROBLEM, "--rule", "random", "--keep", 0.5)
    header, row = out.splitlines()
    assert status == 0
    assert header.split("\t")[:2] == ["test_error", "overlap"]
    assert float(row.split("\t")[3]) == 0.5


def test_the_interpolation_peak_is_strict_json(dp):
    _, out, _ = dp("predict", "--rule", "keep-all", "--rho", 0, "--phi", 1, "--json")
    assert json.loads(out)["squared_norm"] is None  # infinite
    assert json.loads(out)["test_error"] == 0.5


@pytest.mark.parametrize("engine", ["dense", "law"])
def test_simulate_prints_what_the_package_returns(dp, engine):
    options = ("--alpha", 0.7, "--d", 12, "--trials", 3, "--seed", 5, "--engine", engine)
    status, out, _ = dp("simulate", *PROBLEM, *options, "--json")
    want = simulate(Problem(KeepHard(0.7), 0.8, 0.5, 0.01), 12, 3, engine=engine, seed=5)
    assert status == 0
    assert json.loads(out) == vars(want)


def test_sweep_writes_its_table_and_pictures(dp, tmp_path):
    folder = tmp_path / "new" / "folder"
    status, out, err = dp("sweep", "--rho", "0.5:0.9:2", "--rule", "keep-hard,random", *SMALL, "--out", folder)
    assert status == 0, err
    assert sorted(path.name for path in folder.iterdir()) == ["cells.jsonl", "sweep.csv", "sweep.pdf", "sweep.png"]
    table = pd.read_csv(folder / "sweep.csv")
    assert list(table.columns[:7]) == ["series", "kind", "x", "y", "y_low", "y_high", "n_seeds"]
    assert set(table["rho"]) == {0.5, 0.9}
    assert set(table.query("kind == 'simulated'")["x"]) == {8, 40}
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "sweep.pdf").read_bytes().startswith(b"%PDF")
    assert "largest |z|" in out
    assert str(folder / "sweep.csv") in out
    again = {path: path.read_bytes() for path in folder.iterdir()}
    status, _, err = dp("sweep", *SMALL, "--out", folder)
    assert status == 2
    assert "is not empty" in err
    assert {path: path.read_bytes() for path in folder.iterdir()} == again


def test_sweep_json_is_one_object_with_winners(dp):
    status, out, _ = dp("sweep", "--rule", "keep-hard", *SMALL, "--x", "kept", "--json")
    answer = json.loads(out)
    assert status == 0
    assert len(answer["table"]) == 6
    assert {"winners", "largest_z", "noise_level", "largest_se"} <= set(answer)


def test_verify_exits_1_where_theory_is_wrong(dp, monkeypatch):
    cells = (Problem(KeepHard(0.7), 0.8, 0.3, 0.1),)
    monkeypatch.setattr(theorem1.verify, "__defaults__", (cells,))
    options = ("verify", "--d", 5000, "--dense-d", 50, "--trials", 100, "--workers", 1)
    status, out, _ = dp(*options)
    assert status == 0
    assert "0 disagree" in out
    wrong = Problem(KeepHard(0.7), 0.4, 0.3, 0.1)
    monkeypatch.setattr(theorem1, "predict", lambda problem: predict(wrong))
    status, out, _ = dp(*options)
    assert status == 1
    assert "DISAGREES" in out


def test_verify_all_reports_the_distribution_of_z(dp, monkeypatch):
    cells = (Problem(KeepHard(0.7), 0.8, 0.3, 0.1),)
    monkeypatch.setattr(theorem1.verify, "__defaults__", (cells,))
    few = {name: loop for name, loop in list(beyond.loops().items())[:2]}
    monkeypatch.setattr(beyond, "loops", lambda: few)
    monkeypatch.setattr(beyond, "feature_cells", lambda d=0: {})
    monkeypatch.setattr(beyond, "softmax_cells", dict)
    one = dict(list(measured.CELLS.items())[:1])
    monkeypatch.setattr(measured, "CELLS", one)
    monkeypatch.setattr(beyond.features, "__defaults__", (6,))
    status, out, err = dp("verify", "--all", "--d", 5000, "--dense-d", 50, "--trials", 20, "--workers", 1, "--json")
    assert status == 0, err
    answer = json.loads(out)
    assert {row["cell"] for row in answer["beyond"]} == {*few, *one}
    assert answer["noise"]["cells"] == 4
    assert {"mean", "sd", "largest", "p_value"} <= set(answer["noise"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("predict", *PROBLEM, "--alpha", 0), "alpha = 0 must be positive"),
        (("predict", *PROBLEM, "--alpha", -1), "alpha = -1 must be positive"),
        (("predict", *PROBLEM, "--alpha", "nan"), "alpha = nan must be positive"),
        (("predict", *PROBLEM, "--rule", "keep-easy", "--alpha", 40), "underflows"),
        (("predict", *PROBLEM), "exactly one of alpha and keep"),
        (("predict", *PROBLEM, "--rule", "hardest", "--alpha", 1), "unknown rule 'hardest': one of keep-hard"),
        (("predict", "--alpha", 1, "--rho", 1.01, "--phi", 1), "rho = 1.01 must lie in [-1, 1]"),
        (("predict", "--alpha", 1, "--rho", 0, "--phi", 0), "phi = 0 must be positive"),
        (("predict", "--alpha", 1, "--rho", 0, "--phi", -2), "phi = -2 must be positive"),
        (("predict", "--alpha", 1, "--rho", 0, "--phi", 1, "--lam", -1), "lam = -1 must be at least 0"),
        (("predict", "--alpha", "x", "--rho", 0, "--phi", 1), "--alpha 'x' is malformed"),
        (("predict", "--alpha", 1, "--rho", "0:1:100001", "--phi", 1), "of at most 100000 values"),
        (("predict", *PROBLEM, "--alpha", 1, "--level", 0.5), "--level is for the band of experiments"),
        (("predict", "--alpha", 1, "--rho", 0), "Missing option '--phi'"),
        (
            ("predict", *PROBLEM, "--alpha", 1, "--kappa=-7"),
            "--kappa is for --rule entropy: leave it out with keep-hard",
        ),
        (("simulate", *PROBLEM, "--alpha", 1, "--d", 0), "d = 0 must be at least 1"),
        (("simulate", *PROBLEM, "--alpha", 1, "--trials", 0), "trials = 0 must be at least 1"),
        (("simulate", *PROBLEM, "--alpha", 1, "--engine", "fast"), "unknown engine 'fast'"),
        (("simulate", "--alpha", 1, "--rho", 0, "--phi", 1e4), "phi = 10000 must be below 700 at d = 350"),
        (("sweep", *SMALL, "--rho", "0:1"), "--rho '0:1' is malformed"),
        (("sweep", *SMALL, "--rho", "0:1:2.5"), "--rho '0:1:2.5' is malformed"),
        (("sweep", *SMALL, "--lam", "0.1,,1"), "--lam '0.1,,1' is malformed"),
        (("sweep", *SMALL, "--lam", "0:1:3"), "--lam '0:1:3' must start and stop above 0"),
        (("sweep", *SMALL, "--alpha", "nan"), "alpha = nan must be positive"),
        (("sweep", *SMALL, "--alpha", "20"), "alpha = 20 keeps all rows, as --rule keep-easy cannot"),
        (("sweep", *SMALL, "--n", "inf"), "n = inf must be"),
        (("sweep", *SMALL, "--n", "0"), "n = 0 must be"),
        (("sweep", *SMALL, "--rule", "keep-hard,best"), "unknown rule 'best'"),
        (("sweep", *SMALL, "--x", "money"), "unknown axis 'money'"),
        (("sweep", *SMALL, "--trials", "0"), "trials = 0"),
        (("sweep", *SMALL, "--resume"), "--resume needs --out"),
        (("sweep", *SMALL, "--workers", "0"), "Invalid value for '--workers'"),
        (("verify", "--d", 1), "d = 1 must be at least 4"),
        (("predict", "--thea", 1), "No such option"),
    ],
)
def test_mistakes_get_one_line_and_status_2(dp, arguments, said):
    status, out, err = dp(*arguments)
    assert status == 2
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


def test_out_that_cannot_be_a_folder(dp, tmp_path):
    (tmp_path / "file").touch()
    status, _, err = dp("sweep", *SMALL, "--out", tmp_path / "file")
    assert status == 2
    assert "is not a folder that can be written to" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_out_without_permission(dp, tmp_path):
    tmp_path.chmod(0o500)
    status, _, err = dp("sweep", *SMALL, "--out", tmp_path)
    assert status == 2
    assert "Permission denied" in err


def test_values():
    assert values("rho", "0.5") == [0.5]
    assert values("rho", "0.5, 1") == [0.5, 1.0]
    assert values("rho", "-1:1:3") == [-1.0, 0.0, 1.0]
    assert values("lam", "1:100:3", geometric=True) == pytest.approx([1, 10, 100])


DP = Path(sys.executable).with_name("dp")


def interrupted(out, workers, send):
    """A sweep that has finished cells when `send` stops its process; (status, last line on stderr)."""
    command = [DP, "theory", "sweep", *map(str, SWEEP), "--workers", str(workers), "--out", out]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    while not (journal := out / "cells.jsonl").exists() or journal.stat().st_size < 2000:
        time.sleep(0.02)
    send(running.pid)
    output, errors = running.communicate(timeout=30)
    assert output == ""
    assert "Traceback" not in errors
    assert {path.name for path in out.iterdir()} - {".lock"} == {"cells.jsonl"}
    return running.returncode, (errors.splitlines() or [""])[-1]


SWEEP = ("--rule", "keep-hard", "--d", 128, "--trials", 100, "--n", "100:20000:10")


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_what_is_finished_and_says_so(tmp_path, workers):
    out = tmp_path / "out"
    status, said = interrupted(out, workers, lambda pid: os.killpg(pid, signal.SIGINT))  # as a terminal does
    assert status == 130
    assert said == f"interrupted: what is finished is in {out}; --resume goes on from there"


def test_a_killed_sweep_ends_like_an_unbroken_one(dp, tmp_path):
    out = tmp_path / "out"
    interrupted(out, 1, lambda pid: os.kill(pid, signal.SIGKILL))
    finished = len((out / "cells.jsonl").read_text().splitlines())
    status, _, err = dp("sweep", *SWEEP, "--workers", 1, "--out", out)
    assert (status, err) == (2, f"dp: --out {out} is not empty: --resume goes on with what is finished there\n")
    status, _, err = dp("sweep", *SWEEP, "--workers", 1, "--out", out, "--resume")
    assert status == 0, err
    assert len((out / "cells.jsonl").read_text().splitlines()) == 200 > finished
    status, _, err = dp("sweep", *SWEEP, "--workers", 1, "--out", tmp_path / "unbroken")
    assert status == 0, err
    assert (out / "sweep.csv").read_bytes() == (tmp_path / "unbroken" / "sweep.csv").read_bytes()


def test_a_run_that_fails_leaves_no_folder(dp, tmp_path):
    assert dp("sweep", *SMALL, "--alpha", "nan", "--out", tmp_path / "new")[0] == 2
    assert dp("practice", "--phi", 2, "--out", tmp_path / "new")[0] == 2
    assert not (tmp_path / "new").exists()


def test_predict_loads_nothing_that_it_does_not_need():
    """What makes it start fast; `benchmarks/startup.py` has the seconds."""
    code = """
import sys
from experiments.cli.main import main
try:
    main()
finally:
    loaded = {"torch", "pandas", "matplotlib", "sympy", "joblib"} & set(sys.modules)
    assert not loaded, loaded
"""
    words = ["theory", "predict", "--alpha", "1", "--rho", "0.5", "--phi", "1"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "test_error" in done.stdout


def test_predict_takes_lists_and_a_dimension(dp):
    """A row for each combination; with --d the band of single experiments beside the mean."""
    lists = ("--alpha", "0.5:1:3", "--rho", "0.5,0.9", "--phi", 0.2, "--lam", 0.01)
    status, out, _ = dp("predict", *lists, "--d", 400, "--level", 0.9, "--json")
    assert status == 0
    rows = json.loads(out)["table"]
    assert [(row["alpha"], row["rho"]) for row in rows] == [(a, r) for a in (0.5, 0.75, 1.0) for r in (0.5, 0.9)]
    for row in rows:
        want = predict(Problem(KeepHard(row["alpha"]), row["rho"], 0.2, 0.01), d=400)
        low, high = want.band(0.9)
        found = [row[name] for name in ("test_error", "low", "high", "test_error_sd")]
        assert found == pytest.approx([want.test_error, low, high, want.test_error_sd], rel=1e-10)
    assert "table" not in json.loads(dp("predict", "--rule", "keep-all", *PROBLEM, "--json")[1])  # one problem, one row
