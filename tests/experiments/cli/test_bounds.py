"""Values that no machine can hold, and names that no folder can have, are refused in one line with exit status 2."""

import signal

import numpy as np
import pytest
from dp_experiments.cli.lazy import Numeric
from dp_experiments.cli.real.configure import keys
from dp_experiments.presets.presets import load_preset

from dp_base.errors import STOP_SIGNALS, DivergedError, InputError
from dp_real.config.arms import ArmName
from dp_theory.numerics.checks import finite_numbers
from dp_theory.numerics.parallel import run_jobs
from tests.commands import dp, refused


def test_huge_sizes_are_refused_with_their_key():
    """All keys that are whole numbers, but for the seed and the split, which may be large."""
    for row in keys(load_preset("digits")):
        if str(row["may be"]).startswith("integer") and row["key"] not in ("seed", "data.split"):
            for value in (10**18, -(2**63)):
                with pytest.raises(InputError, match=f"{row['key']} = .*(less|greater) than"):
                    load_preset("digits", [f"{row['key']}={value}"])


@pytest.mark.parametrize(
    ("preset", "setting"),
    [
        ("digits", f"learner.hidden=[{10**18}]"),
        ("digits", f"learner.hidden={[8] * 101}"),
        ("digits", f"seed={2**63}"),
        ("digits", "practice.additions=100000000"),
        ("digits", 'name="two\\nlines"'),
        ("digits", f'name="{"ä" * 100}"'),
        ("gaussian", "learner.lam=1e308"),
    ],
)
def test_what_cannot_be_is_refused(preset, setting):
    with pytest.raises(InputError, match=setting.partition("=")[0].rpartition(".")[2]):
        load_preset(preset, [setting])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("static-" + "9" * 5000, "unknown arm"),
        ("static@foo", "'foo' must read KEY=VALUE, as in static@guidance.omega=0.04"),
        ("static-40@training.crop=0@seed=3", "seed is the same for all arms"),
    ],
)
def test_arms_that_cannot_be_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        ArmName.parse(name)


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
def test_a_command_that_is_told_to_stop_cleans_up(number, monkeypatch):
    """SIGTERM killed it at once, so that joblib complained of what was left of its workers."""
    monkeypatch.setattr("dp_experiments.cli.theory.predict.predict", lambda problem: signal.raise_signal(number))
    answer = dp("theory predict --alpha 0.5 --rho 0.9 --phi 0.5")
    assert (answer.status, answer.out, answer.err) == (130, "", "interrupted\n")


@pytest.mark.parametrize("command", ["doctor", "real report", "real resume"])
def test_a_path_that_cannot_be_is_refused(command):
    assert refused(command, "n" * 300) == f"dp: {'n' * 60}…: File name too long; give a path that can be"
