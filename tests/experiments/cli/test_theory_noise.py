"""`dp theory noise`: what it prints and writes, and how it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dp_experiments.cli.theory.noise import judged_share

from dp_theory import BoundaryFlips, InputError
from tests.experiments.conftest import Answer, Theory, with_defaults


@pytest.fixture
def noise(theory: Theory) -> Theory:
    """Runs `dp theory noise ARGUMENTS`, with two rounds unless the arguments say otherwise."""

    def run(*arguments: object) -> Answer:
        return theory("noise", *with_defaults(arguments, {"--rounds": 2}))

    return run


def answer_of(answer: Answer) -> dict[str, Any]:
    """The JSON that a command printed."""
    return json.loads(answer.done())


def test_a_judge_who_errs_near_the_boundary():
    accuracy = 0.93
    n = 10**6
    rng = np.random.default_rng(0)
    z, generator, judge = rng.standard_normal((3, n))
    flips = BoundaryFlips(0.2)
    label = np.sign(z + 0.2 * generator)
    answer = np.sign(z + np.tan(np.pi * (1 - accuracy)) * judge)
    assert judged_share(float(np.mean(label == answer)), accuracy) == pytest.approx(flips.share, abs=0.002)
    assert judged_share(0.99, 0.98) == pytest.approx(1e-4)  # no more doubts than the judge has by itself
    with pytest.raises(InputError, match=r"confirmed = 0.4 must lie"):
        judged_share(0.4)


def test_one_share_has_a_row_per_round(noise: Theory):
    answer = answer_of(noise("--share", 0.06, "--json"))
    assert [row["stage"] for row in answer["practice"]] == [0, 1, 2]
    assert answer["practice"][2]["test_error"] == pytest.approx(0.0759, abs=5e-5)
    assert answer["worth_at_boundary"] == pytest.approx([10.986], abs=1e-3)
    assert answer["price"] == pytest.approx(1.92 / 1.1)


def test_long_loops_are_announced_with_their_number(theory: Theory, monkeypatch: pytest.MonkeyPatch):
    """The bar counts loops: with one share it had a single step."""
    told = []
    monkeypatch.setattr("dp_experiments.cli.theory.noise.MANY_ROUNDS", 1)
    monkeypatch.setattr("dp_experiments.terminal.ProgressLines.advance", lambda self, n: told.append((n, self.total)))
    answer = theory("noise", "--share", 0.06, "--rounds", 2)
    assert answer.status == 0
    assert f"{len(told)} loops of 2 rounds" in answer.err
    assert told[-1] == (1, len(told))
    assert len(told) > 7


def test_several_shares_have_the_last_round_each(noise: Theory, tmp_path: Path):
    printed = noise("--share", "0.02,0.2,0.02", "--out", tmp_path / "new").done()
    written = pd.read_csv(tmp_path / "new" / "noise.csv")
    assert written["share"].tolist() == pytest.approx([0.02, 0.2])
    assert str(tmp_path / "new" / "noise.csv") in printed


def test_a_judge_says_how_many_are_wrong(noise: Theory):
    row = answer_of(noise("--confirmed", 0.91, "--judge", 0.93, "--json"))["practice"][-1]
    assert row["share"] == pytest.approx(0.0570, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give one of --share and --confirmed"),
        (("--share", 0.1, "--confirmed", 0.9), "give one of --share and --confirmed"),
        (("--share", 0.1, "--judge", 0.9), "--judge is for --confirmed"),
        (("--share", "some"), "--share 'some' is malformed"),
    ],
)
def test_refuses(noise: Theory, arguments: tuple[object, ...], said: str):
    assert said in noise(*arguments).refused()
