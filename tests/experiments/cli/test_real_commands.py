"""`dp real ...` as a person meets it: files, exit statuses, one line for a mistake."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from dp_experiments.cli.real.configure import keys
from dp_experiments.presets.presets import load_preset
from dp_experiments.rich_terminal import print_table
from dp_experiments.studies.digits.source import DigitsConfig

from dp_base.locks import locked
from dp_real.examples import RealData
from dp_real.practice import Practice
from tests.experiments.conftest import COMPARED
from tests.experiments.conftest import run_dp as dp
from torture.attempt import POOL_ROWS, SMALL, as_options

pytestmark = pytest.mark.usefixtures("cache")


def test_run_then_resume_then_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "run"
    command = ("real", "run", *SMALL, "--out", out, "--seed", "3")
    assert dp(*command, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == json.loads((out / "result.json").read_text())
    assert (answer["seed"], answer["samples_generated"], answer["steps"]) == (3, POOL_ROWS, 40)

    assert dp(*command) == 2
    assert "complete" in capsys.readouterr().err
    (drawn := out / "figures" / "rounds.png").rename(drawn.with_name(".part-999999999-rounds.png"))
    assert dp("real", "resume", out) == 0  # what was killed while it drew its pictures is finished and tidied
    assert [path.name for path in drawn.parent.glob("*rounds.png")] == ["rounds.png"]
    assert capsys.readouterr().out.startswith("test_accuracy\t")

    (out / "result.json").unlink()
    assert dp(*command) == 2
    assert "--resume" in capsys.readouterr().err
    assert dp(*command, "--resume", "--json") == 0
    assert json.loads(capsys.readouterr().out)["test_accuracy"] == answer["test_accuracy"]


def test_a_strength_at_the_end_of_its_range_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    more = {"guidance.wrong_share": 0.01, "practice.initial": 20, "practice.increment": 160}
    arms = ["--arms", "practice", "--seeds", "1", "--workers", "1"]
    assert dp("real", "compare", *SMALL, *as_options(more), *arms, "--out", tmp_path / "compare") == 0
    assert "practice: in 1 of 1 runs the strength is at its lowest" in capsys.readouterr().err


def test_a_run_reads_its_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whether or not its generator is trained on them; shape and classes are known without."""
    loaded, load = [], DigitsConfig.load

    def counted(self: DigitsConfig) -> RealData:
        loaded.append(self)
        return load(self)

    monkeypatch.setattr(DigitsConfig, "load", counted)
    settings = [*SMALL, "--set", "generator.training=none"]  # not in the cache yet
    assert dp("real", "run", *settings, "--out", tmp_path / "run") == 0
    assert len(loaded) == 1
    loaded.clear()
    assert dp("real", "plan", *settings) == 0
    assert not loaded


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "digit"], "unknown preset 'digit': one of digits"),
        (["run", "digits", "--set", "guidance.omga=1"], "did you mean guidance.omega?"),
        (["resume", "nowhere"], "nowhere"),
        (["compare", "digits", "--arms", "practice,statik"], "unknown arm 'statik'"),
        (["compare", "digits", "--arms", "static,static"], "twice"),
        (["compare", "digits", "--arms", "static", "--baseline", "practice"], "--baseline practice"),
        (["compare", "digits", "--set", 'compare.arms=["static","static"]'], "names one twice"),
        (["compare", "digits", "--set", "seed=7"], "--first, --seeds and --splits say which"),
    ],
)
def test_mistakes_get_one_line_and_status_2(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert dp("real", *arguments) == 2
    out, err = capsys.readouterr()
    assert complaint in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_compare_is_paired_resumable_and_drawn(compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = shutil.copytree(compared, tmp_path / "compare")
    pictures = {"comparison.png", "comparison.pdf"}
    assert {path.name for path in out.iterdir()} == {"SHA256SUMS", "runs", "runs.csv", "comparison.csv"} | pictures
    command = ("real", "compare", *SMALL, *COMPARED, "--workers", 1, "--out", out, "--json")
    assert dp(*command) == 2  # it holds results
    capsys.readouterr()
    finished = out / "runs" / "static-seed1" / "result.json"
    before, table = finished.stat().st_mtime_ns, (out / "comparison.csv").read_bytes()
    assert dp(*command, "--resume") == 0
    arms = json.loads(capsys.readouterr().out)["arms"]
    sizes = [("practice", POOL_ROWS), ("static-60", 60), ("static", POOL_ROWS)]
    assert [(arm["series"], arm["x"]) for arm in arms] == sizes
    assert finished.stat().st_mtime_ns == before  # not run again
    assert (out / "comparison.csv").read_bytes() == table


def test_compare_is_refused_before_generators_are_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Where nothing can be written, where another process is at work, and where the table cannot be read."""
    monkeypatch.setattr("dp_experiments.comparing.compare.run_arms", None)
    (tmp_path / "file").touch()
    out = tmp_path / "out"
    assert dp("real", "compare", *SMALL, "--out", tmp_path / "file" / "out") == 2
    assert "cannot be written" in capsys.readouterr().err
    commands = (("real", "compare", *SMALL, "--resume"), ("figures", "fig3", "--quick"), ("theory", "sweep"))
    with locked(out):
        for command in commands:
            assert dp(*command, "--out", out) == 2
            assert "is being written by process" in capsys.readouterr().err
    assert not out.exists()
    out.mkdir()
    (out / "comparison.csv").touch()
    assert dp("real", "report", out) == 3
    assert "comparison.csv cannot be read" in capsys.readouterr().err


def test_a_signal_leaves_a_checkpoint_and_status_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    steps: list[Practice] = []
    step = Practice.train_step

    def signalling(self: Practice) -> None:
        steps.append(self)
        if len(steps) == 5:
            signal.raise_signal(signal.SIGUSR1)
        step(self)

    monkeypatch.setattr(Practice, "train_step", signalling)
    out = tmp_path / "run"
    assert dp("real", "run", *SMALL, "--out", out) == 130
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert f"dp real resume {out} goes on" in err
    assert list((out / "checkpoints").iterdir())
    assert not (out / "result.json").exists()


def test_a_narrow_terminal_cuts_no_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    rows = list(keys(load_preset("imagenet100")))
    monkeypatch.setenv("COLUMNS", "80")
    print_table(list(rows[0]), [list(map(str, row.values())) for row in rows], "")
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert {row["key"] for row in rows} <= set(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
