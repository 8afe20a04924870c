"""Sizes that no machine can hold are refused; numbers that overflow and signals end a command."""

import signal

import numpy as np
import pytest
from dp_experiments.cli.lazy import Numeric
from dp_experiments.cli.real.configure import keys
from dp_experiments.presets.presets import load_preset

from dp_base.errors import STOP_SIGNALS, DivergedError
from dp_theory.numerics.parallel import run_jobs
from tests.commands import dp
from tests.refusals import refusal


def test_huge_sizes_are_refused_with_their_key():
    """All keys that are whole numbers, but for the seed and the split, which may be large."""
    for row in keys(load_preset("digits")):
        if str(row["may be"]).startswith("integer") and row["key"] not in ("seed", "data.split"):
            for value in (10**18, -(2**63)):
                with refusal(f"{row['key']} = .*(less|greater) than"):
                    load_preset("digits", [f"{row['key']}={value}"])


def test_numbers_that_overflow_end_a_command():
    """They are no warning before a wrong answer, neither here nor in a worker."""
    with refusal("overflow encountered in exp", DivergedError):
        run_jobs(np.exp, [(np.array([1e4]),)])
    assert np.geterr()["over"] == "warn"  # for the caller's own code
    command = Numeric("predict", "dp_experiments.cli.theory.predict", "")
    with refusal("overflow encountered in exp", DivergedError):
        command.prepare(lambda: np.exp(np.array([1e4])))()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_command_that_is_told_to_stop_cleans_up(number, patch):
    """SIGTERM killed it at once, so that joblib complained of what was left of its workers."""
    patch("dp_experiments.cli.theory.predict.predict", lambda problem: signal.raise_signal(number))
    answer = dp("theory predict --alpha 0.5 --rho 0.9 --phi 0.5")
    assert (answer.status, answer.out, answer.err) == (130, "", "interrupted\n")
