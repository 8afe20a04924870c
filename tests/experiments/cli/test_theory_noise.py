"""`dp theory noise`: what it prints and writes, and how it refuses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dp_experiments.cli.theory.noise import judged_share

from dp_theory import BoundaryFlips, InputError
from tests.commands import done, told


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
        judged_share(0.4, 1)


def test_one_share_has_a_row_per_round_and_several_the_last_of_each(tmp_path: Path):
    answer = told("theory noise --rounds 2 --share 0.06")
    assert [row["stage"] for row in answer["practice"]] == [0, 1, 2]
    assert answer["practice"][2]["test_error"] == pytest.approx(0.0759, abs=5e-5)
    assert answer["worth_at_boundary"] == pytest.approx([10.986], abs=1e-3)
    assert answer["price"] == pytest.approx(1.92 / 1.1)
    done("theory noise --rounds 1 --share 0.02,0.2,0.02 --out", tmp_path / "new")
    assert pd.read_csv(tmp_path / "new" / "noise.csv")["share"].tolist() == pytest.approx([0.02, 0.2])


def test_a_judge_says_how_many_are_wrong():
    answer = told("theory noise --rounds 1 --confirmed 0.91 --judge 0.93")
    assert answer["practice"][-1]["share"] == pytest.approx(0.0570, abs=1e-4)
