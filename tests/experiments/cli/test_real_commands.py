"""`dp real ...` as a person meets it: files, exit statuses, one line for a mistake."""

import json
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
from dp_experiments.cli.real.configure import keys
from dp_experiments.presets.presets import load_preset
from dp_experiments.rich_terminal import print_table
from dp_experiments.studies.digits.source import DigitsConfig
from PIL import Image

from dp_base.locks import locked
from dp_real.examples import RealData
from tests.experiments.conftest import run_dp as dp

QUICK = (
    "generator.width=32",
    "generator.blocks=1",
    "generator.train_steps=100",
    "sampling.steps=4",
    "training.steps=60",
    "practice.initial=40",
    "practice.increment=20",
    "practice.additions=1",
    "practice.patience=1",
    "practice.evaluate_every=2",
)
SET = [part for override in QUICK for part in ("--set", override)]


pytestmark = pytest.mark.usefixtures("cache")


def test_run_then_resume_then_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = str(tmp_path / "run")
    assert dp("real", "run", "digits", *SET, "--out", out, "--seed", "3", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == json.loads((tmp_path / "run" / "result.json").read_text())
    assert (answer["seed"], answer["samples_generated"], answer["steps"]) == (3, 60, 60)

    assert dp("real", "run", "digits", *SET, "--out", out, "--seed", "3") == 2
    assert "complete" in capsys.readouterr().err
    (drawn := tmp_path / "run" / "figures" / "rounds.png").rename(drawn.with_name(".part-999999999-rounds.png"))
    assert dp("real", "resume", out) == 0  # what was killed while it drew its pictures is finished and tidied
    assert [path.name for path in drawn.parent.glob("*rounds.png")] == ["rounds.png"]
    table = capsys.readouterr().out.splitlines()
    assert table[0].split("\t")[0] == "test_accuracy"

    (tmp_path / "run" / "result.json").unlink()
    assert dp("real", "run", "digits", *SET, "--out", out, "--seed", "3") == 2
    assert "--resume" in capsys.readouterr().err
    assert dp("real", "run", "digits", *SET, "--out", out, "--seed", "3", "--resume", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["test_accuracy"] == answer["test_accuracy"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("guidance.wrong_share=0.01",), "the strength is at its lowest"),
        (("guidance.wrong_share=0.01", "guidance.candidates=2"), "the strength is at its lowest"),
        (("guidance.wrong_share=0.01", "guidance.control=random-direction"), None),
    ],
)
def test_a_strength_at_the_end_of_its_range_is_told(
    settings: tuple[str, ...], said: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    more = ("practice.initial=20", "practice.increment=160", "practice.additions=2", *settings)
    command = [*SET, *(part for setting in more for part in ("--set", setting))]
    assert dp("real", "run", "digits", *command, "--out", str(tmp_path / "run")) == 0
    told = capsys.readouterr().err
    assert said in told if said else "guidance.wrong_share" not in told
    arms = ["--arms", "practice", "--seeds", "1", "--workers", "1"]
    if said:
        assert dp("real", "compare", "digits", *command, *arms, "--out", str(tmp_path / "compare")) == 0
        assert "practice: in 1 of 1 runs the strength is at its" in capsys.readouterr().err


def test_a_run_is_repeated_from_its_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The seed included, whether it came from --seed or from --set."""
    for number, seed in enumerate((["--seed", "5"], ["--set", "seed=5"])):
        first, again = tmp_path / f"first{number}", tmp_path / f"again{number}"
        assert dp("real", "run", "digits", *SET, *seed, "--out", str(first), "--json") == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["seed"] == 5
        assert dp("real", "run", str(first / "config.toml"), "--out", str(again), "--json") == 0
        assert json.loads(capsys.readouterr().out)["test_accuracy"] == answer["test_accuracy"]


def test_a_run_reads_its_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whether or not its generator is trained on them; shape and classes are known without."""
    loaded, load = [], DigitsConfig.load

    def counted(self: DigitsConfig) -> RealData:
        loaded.append(self)
        return load(self)

    monkeypatch.setattr(DigitsConfig, "load", counted)
    settings = [*SET, "--set", "generator.train_steps=101"]  # not in the cache yet: the first run trains one
    for seed in ("0", "1"):
        assert dp("real", "run", "digits", *settings, "--out", str(tmp_path / seed), "--seed", seed) == 0
        assert len(loaded) == 1
        loaded.clear()
    assert dp("real", "plan", "digits", *settings) == 0
    assert not loaded


def test_the_version(capsys: pytest.CaptureFixture[str]):
    assert dp("--version") == 0
    assert capsys.readouterr().out.split()[0] == metadata.version("deliberate-practice")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "digit"], "unknown preset 'digit': one of digits"),
        (["run", "absent.toml"], "absent.toml: cannot be read"),
        (["run"], "Missing argument"),
        (["run", "digits", "--seed", "-1"], "--seed"),
        (["run", "digits", "--frobnicate"], "--frobnicate"),
        (["run", "digits", "--set", "guidance.omga=1"], "did you mean guidance.omega?"),
        (["run", "digits", "--set", "training.steps=many"], "training.steps = 'many'"),
        (["resume", "nowhere"], "nowhere"),
        (["compare", "digits", "--arms", "practice,statik"], "unknown arm 'statik'"),
        (["compare", "digits", "--arms", "practice-150"], "150 is not 100 plus"),
        (["compare", "digits", "--arms", "static,static"], "twice"),
        (["compare", "digits", "--arms", "static", "--baseline", "practice"], "--baseline practice"),
        (["compare", "digits", "--set", 'compare.arms=["static","static"]'], "names one twice"),
        (["compare", "digits", "--set", "seed=7"], "--first, --seeds and --splits say which"),
        (["compare", "digits", "--set", "data.split=3"], "--first, --seeds and --splits say which"),
        (["tune", "digits", "--set", "data.split=3"], "--first and --splits say which"),
        (["frob"], "frob"),
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


def test_branch_gives_the_scaling_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = str(tmp_path / "run")
    assert dp("real", "run", "digits", *SET, "--out", out, "--set", "practice.branch=true", "--json") == 0
    final = json.loads(capsys.readouterr().out)
    assert dp("real", "branch", out, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["pool_size"] for row in answer["branches"]] == [40, 60]
    assert answer["branches"][-1] == final
    assert dp("real", "branch", str(tmp_path / "nowhere")) == 2


def test_compare_is_paired_resumable_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["real", "compare", "digits", *SET, "--seeds", "2", "--splits", "1", "--workers", "1"]
    arguments += ["--out", str(tmp_path / "compare"), "--arms", "practice,static-80,static", "--json"]
    assert dp(*arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [arm["series"] for arm in answer["arms"]] == ["practice", "static-80", "static"]
    assert [arm["x"] for arm in answer["arms"]] == [60, 80, 60]
    left = {path.name for path in (tmp_path / "compare").iterdir()}
    pictures = {"comparison.png", "comparison.pdf", "comparison-narrow.png"}
    assert left == {"SHA256SUMS", "runs", "runs.csv", "comparison.csv"} | pictures

    assert dp(*arguments) == 2  # it holds results
    capsys.readouterr()
    finished = tmp_path / "compare" / "runs" / "static-seed1" / "result.json"
    before = finished.stat().st_mtime_ns
    assert dp(*arguments, "--resume") == 0
    assert json.loads(capsys.readouterr().out) == answer
    assert finished.stat().st_mtime_ns == before  # not run again


@pytest.mark.parametrize("command", ["plan", "run"])
def test_plan_refuses_what_run_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str):
    odd = ("generator.kind=latent", "data.source=folder", "data.size=20", f"data.validation={tmp_path}/images")
    for wrong, message in (
        (["digits", "practice.initial=9"], "practice.initial = 9: fewer examples than the 10 classes"),
        (["digits", "guidance.window=[0.99,1]", "sampling.steps=4"], "guides none of the 4 sampling.steps"),
        ([str(tmp_path / "own.toml"), *odd], "side is a multiple of 8; these have shape [3, 20, 20]"),
    ):
        preset, *settings = wrong
        (tmp_path / "own.toml").write_text(
            'data = {}\ngenerator = {}\nlearner = {kind = "conv"}\ntraining = {steps = 9}\npractice = {initial = 9}'
        )
        for name in ("cat", "dog"):
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20)).save(tmp_path / "images" / name / "0.png")
        options = [part for setting in settings for part in ("--set", setting)]
        assert dp("real", command, preset, *options, "--out", str(tmp_path / "out")) == 2
        assert message in capsys.readouterr().err


def test_plan_says_what_is_trained(capsys: pytest.CaptureFixture[str]):
    assert dp("real", "plan", "digits", "--json") == 0
    (need,) = (need for need in json.loads(capsys.readouterr().out)["needs"] if need["what"] == "generator")
    assert need["found"].startswith("from the cache, or trained on first use, about 27 s of one core")
    assert dp("real", "plan", "gaussian", "--json") == 0
    assert "trained on" not in capsys.readouterr().out


def test_the_arm_real_trains_no_generator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("dp_real.generators.trained.DenoiserConfig.load", None)
    arguments = ["real", "compare", "digits", *SET, "--arms", "real,real-60@training.crop=0.5", "--seeds", "1"]
    assert dp(*arguments, "--workers", "1", "--out", str(tmp_path / "out"), "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [arm["series"] for arm in answer["arms"]] == ["real", "real-60@training.crop=0.5"]
    assert dp("real", "compare", "digits", *SET, "--arms", "static-5,static", "--out", str(tmp_path / "few")) == 2
    assert "practice.initial = 5: fewer examples than the 10 classes" in capsys.readouterr().err
    assert not (tmp_path / "few").exists()


def test_compare_is_refused_before_generators_are_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Where nothing can be written, where another process is at work, and where the table cannot be read."""
    monkeypatch.setattr("dp_experiments.comparing.compare.run_arms", None)
    (tmp_path / "file").touch()
    arguments = ["real", "compare", "digits", *SET, "--out"]
    assert dp(*arguments, str(tmp_path / "file" / "out")) == 2
    assert "cannot be written" in capsys.readouterr().err
    with locked(tmp_path / "out"):
        assert dp(*arguments, str(tmp_path / "out"), "--resume") == 2
        assert "is being written by process" in capsys.readouterr().err
        assert dp("figures", "fig3", "--quick", "--out", str(tmp_path / "out")) == 2
        assert "is being written by process" in capsys.readouterr().err
        assert dp("theory", "sweep", "--out", str(tmp_path / "out")) == 2
        assert "is being written by process" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "comparison.csv").touch()
    assert dp("real", "report", str(tmp_path / "out")) == 3
    assert "comparison.csv cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("signalled", [signal.SIGTERM, signal.SIGUSR1], ids=lambda s: s.name)
def test_a_signal_leaves_a_checkpoint_and_status_130(tmp_path: Path, signalled: signal.Signals):
    out = tmp_path / "run"
    command = [sys.executable, "-c", "from dp_experiments.cli.main import main; main()", "real", "run", "digits", *SET]
    command += ["--set", "training.steps=10000000", "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signalled)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"dp real resume {out} goes on" in err
    assert list((out / "checkpoints").iterdir())
    assert not (out / "result.json").exists()


def test_help_starts_without_torch():
    code = (
        "import sys\nfrom dp_experiments.cli.main import main\nsys.argv = ['dp', 'real', '--help']\n"
        "try: main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_narrow_terminal_cuts_no_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    rows = list(keys(load_preset("imagenet100")))
    monkeypatch.setenv("COLUMNS", "80")
    print_table(list(rows[0]), [list(map(str, row.values())) for row in rows], "")
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert {row["key"] for row in rows} <= set(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
