"""Values that no machine can hold, and names that no folder can have, are refused in one line with exit status 2."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dp_experiments.cli.lazy import Numeric
from dp_experiments.cli.real.configure import init_command
from dp_experiments.cli.theory.options import values
from dp_experiments.presets.presets import load_preset

from dp_base.errors import STOP_SIGNALS, DivergedError, InputError
from dp_real.config.arms import ArmName
from dp_theory.numerics.checks import finite_numbers
from dp_theory.numerics.parallel import run_jobs
from tests.experiments.conftest import Theory, run_dp

HUGE = 10**18
SIZES = (
    "threads",
    "training.steps",
    "training.batch_size",
    "practice.initial",
    "practice.increment",
    "practice.additions",
    "practice.patience",
    "practice.evaluate_every",
    "practice.oversample",
    "sampling.block_size",
    "sampling.steps",
    "generator.width",
    "generator.blocks",
    "generator.train_steps",
    "guidance.every",
    "training.mixup",
)


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("value", [HUGE, 2**63, -(2**63)])
def test_huge_sizes_are_refused_with_their_key(key: str, value: int):
    with pytest.raises(InputError, match=f"{key} = .*(less|greater) than"):
        load_preset("digits", [f"{key}={value}"])


@pytest.mark.parametrize(
    "setting",
    [
        f"learner.hidden=[{HUGE}]",
        f"learner.hidden={[8] * 101}",
        f"seed={2**63}",
        f"data.split={2**63}",
        "practice.additions=100000000",
        'name="two\\nlines"',
        f'name="{"n" * 300}"',
        f'name="{"ä" * 100}"',
        'name="bell\\u0007"',
        'name=" "',
    ],
)
def test_what_cannot_be_is_refused(setting: str):
    with pytest.raises(InputError, match=setting.partition("=")[0].rpartition(".")[2]):
        load_preset("digits", [setting])


def test_other_kinds_have_bounds_too():
    for setting in (f"data.dimension={HUGE}", f"data.test={HUGE}", "learner.lam=1e308", "learner.kappa=1e308"):
        with pytest.raises(InputError, match=setting.partition("=")[0]):
            load_preset("gaussian", [setting])
    with pytest.raises(InputError, match="unknown arm"):
        ArmName.parse("static-" + "9" * 5000)
    for name, message in (
        ("static@foo", "'foo' must read KEY=VALUE, as in static@guidance.omega=0.04"),
        ("static-40@training.crop=0@seed=3", "seed is the same for all arms"),
        ("static@data.split=5", "data.split is the same for all arms"),
    ):
        with pytest.raises(InputError, match=message):
            ArmName.parse(name)


def test_a_file_is_not_begun_under_a_name_that_no_run_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("two\nlines", "", " "):
        with pytest.raises(InputError, match="should be a name for a folder"):
            init_command(name)
    assert not list(tmp_path.iterdir())


def test_a_list_of_a_milliard_values_is_not_made():
    with pytest.raises(InputError, match="malformed"):
        values("rho", "0:1:1000000000")


@pytest.mark.parametrize(
    "line",
    [
        "predict --rho 0.5 --phi 0.5 --lam 1e308",
        "predict --rho 0.5 --phi 1e308",
        "predict --rho 0.5 --phi 1e-308",
        "simulate --rho 0.5 --phi 0.5 --d 1000000000000000000",
        "simulate --rho 0.5 --phi 0.5 --trials 9223372036854775808",
        "simulate --rho 0.5 --phi 0.5 --d 20 --workers 1000000000",
        "sweep --d 1000000000000000000",
        "sweep --n 1e18",
        "sweep --lam 1e308",
        "practice --rounds 1000000000",
        "practice --lam 1e308",
        "practice --initial 1e308",
        "practice --increment 1e308",
        "best --rho 0.5 --psi 0.5 --lam 1e308",
        "best --rho 0.5 --psi 1e-308",
        "verify --trials 1000000000000000000",
        "verify --d 1000000000000000000",
        "classes --classes nan",
        "classes --classes inf",
        "best --rho 0.9 --psi 0.5 --smallest-keep 1e-200",
        "best --rho 0.9 --psi 0.5 --d 1e308",
        "noise --share 1e-12",
    ],
)
def test_theory_refuses_what_no_experiment_can_have(line: str, monkeypatch: pytest.MonkeyPatch, capfd):
    from dp_experiments.cli.main import main

    monkeypatch.setattr(sys, "argv", ["dp", "theory", *line.split()])
    with pytest.raises(SystemExit) as left:
        main()
    said = capfd.readouterr()
    assert left.value.code == 2
    assert not said.out
    assert len(said.err.strip().splitlines()) == 1


def test_a_share_is_held_against_the_bounds_that_are_told(theory: Theory):
    """Bounds that were rounded to 0 and 0.5 contained the share that they refused."""
    assert "share = 1e-12 must lie between 3.18e-10 and 0.5" in theory("noise", "--share", "1e-12").refused()


def curve(folder: Path, se: float) -> Path:
    points = [(100, 0.3), (200, 0.25), (400, 0.2), (800, 0.17), (1600, 0.15)]
    rows = "".join(f"static,{kept},{error},{se}\n" for kept, error in points)
    (folder / "curve.csv").write_text(f"strategy,kept,error,se\n{rows}")
    return folder / "curve.csv"


@pytest.mark.parametrize("se", [1e300, 1e-300])
def test_standard_errors_that_no_error_has(se: float, theory: Theory, tmp_path: Path):
    assert "must lie between 1e-12 and 1" in theory("forecast", curve(tmp_path, se), "--target", 0.1).refused()


@pytest.mark.parametrize(("scale", "problem"), [(1e-200, "spreads over"), (1e200, "spreads over"), (0, "no variance")])
def test_features_of_a_scale_whose_squares_are_no_numbers(scale: float, problem: str, theory: Theory, tmp_path: Path):
    x = np.random.default_rng(0).normal(size=(200, 4))
    np.savez(tmp_path / "features.npz", X=scale * x, y=np.sign(x[:, 0]))
    assert problem in theory("check", tmp_path / "features.npz").refused()


@pytest.mark.parametrize("lam", ["1e308", "1e-308"])
def test_a_ridge_beyond_floating_point(lam: str, theory: Theory, tmp_path: Path):
    x = np.random.default_rng(0).normal(size=(200, 4))
    np.savez(tmp_path / "features.npz", X=x, y=np.sign(x[:, 0]))
    assert "must be between 1e-30 and 1e+15" in theory("check", tmp_path / "features.npz", "--lam", lam).refused()


def test_numbers_that_overflow_end_a_command():
    """They are no warning before a wrong answer, neither here nor in a worker."""
    with pytest.raises(DivergedError, match="overflow encountered in exp"):
        run_jobs(np.exp, [(np.array([1e4]),)])
    with pytest.raises(DivergedError, match="overflow encountered in exp"), finite_numbers():
        np.exp(np.array([1e4]))
    assert np.geterr()["over"] == "warn"  # for the caller's own code
    command = Numeric("predict", "dp_experiments.cli.theory.predict", "")
    with pytest.raises(DivergedError):
        command.prepare(lambda: np.exp(np.array([1e4])))()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_command_that_is_told_to_stop_cleans_up(number: int, theory: Theory, monkeypatch: pytest.MonkeyPatch):
    """SIGTERM killed it at once, so that joblib complained of what was left of its workers."""
    monkeypatch.setattr("dp_experiments.cli.theory.predict.predict", lambda problem: signal.raise_signal(number))
    answer = theory("predict", "--alpha", "0.5", "--rho", "0.9", "--phi", "0.5")
    assert (answer.status, answer.out, answer.err) == (130, "", "interrupted\n")


def test_the_one_line_comes_from_the_command_itself():
    code = "from dp_experiments.cli.main import main; main()"
    command = [sys.executable, "-c", code, "real", "run", "digits", "--set", f"threads={HUGE}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "threads" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["doctor", "real report", "real resume", "real evaluate"])
def test_a_path_that_cannot_be_is_refused(command: str, capsys: pytest.CaptureFixture[str]):
    assert run_dp(*command.split(), "n" * 300) == 2
    assert capsys.readouterr().err == f"dp: {'n' * 60}…: File name too long; give a path that can be\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep", "--n", "1e9", "--trials", "1000", "--workers", "1"], "give fewer --n or --trials"),
        (["sweep", "--n", "1e6", "--d", "4000", "--engine", "dense", "--workers", "1"], "give fewer --n or --trials"),
    ],
)
def test_hours_of_work_are_refused_beforehand(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert run_dp("theory", *words) == 2
    assert re.search(
        f"this would take about [0-9,]+ (minutes|hours): {said}, or raise --most-minutes", capsys.readouterr().err
    )


def test_a_bound_on_work_can_be_raised(capsys: pytest.CaptureFixture[str]):
    words = ["sweep", "--n", "256,512", "--d", "64", "--trials", "2", "--rule", "keep-hard", "--workers", "1"]
    assert run_dp("theory", *words, "--most-minutes", "1e-9") == 2
    assert "--most-minutes, which is 1e-09" in capsys.readouterr().err
    assert run_dp("theory", *words) == 0


def test_many_points_are_not_fitted_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [f"static,{n},{0.05 + 0.5 / n**0.3}" for n in range(100, 1000)]
    curve = tmp_path / "curve.csv"
    curve.write_text("\n".join(["strategy,kept,error", *rows]) + "\n", encoding="utf-8")
    assert run_dp("theory", "forecast", str(curve), "--most-minutes", "0.05") == 2
    assert "give the mean error of each size" in capsys.readouterr().err
