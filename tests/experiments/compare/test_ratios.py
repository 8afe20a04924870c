"""The worth of an arm in static samples: a known one is read back, with an interval that covers it."""

import numpy as np
import pytest
from dp_experiments.compare.ratios import by_unit, series_of, worth

from tests.experiments.compare.made import runs_of

SIZES = (1000, 2000, 4000, 8000)


def runs(noise, seeds=8, splits=1, rng=5):
    """Runs with the error .2 (n / 1000)^-.3 of static data; practice is worth three times its samples.

    Half of the variance of the noise is the split's, where there are several.
    """
    draw = np.random.default_rng(rng)
    static = {f"static-{n}": n for n in SIZES} | {f"practice-{n}": 3 * n for n in SIZES[:3]}  # of this worth
    error = 0.2 * (np.array([*static.values()]) / 1000) ** -0.3
    of_split = draw.normal(0, noise, (splits, len(static))) if splits > 1 else np.zeros((1, len(static)))
    shared, *of_run = draw.standard_normal((seeds, 1 + len(static))).T  # shared by a seed, which pairing takes out
    own = of_split[np.arange(seeds) % splits] + noise * np.transpose(of_run)
    accuracies = 1 - error * (1 + own / 0.2) - 0.01 * shared[:, None]
    spent = {"training_flops": 1000, "training_seconds": 4, "test_examples": 10_000}
    table = runs_of(dict(zip(static, accuracies.T, strict=True)), splits=splits, **spent)
    samples = table["pool_size"]
    return table.assign(generation_flops=10 * samples, samples_generated=2 * samples, generation_seconds=samples / 500)


def test_an_arm_is_worth_what_static_data_of_its_accuracy_cost():
    table = worth(runs(1e-6), "kept").to_dict("index")
    own = table["practice-1000"]
    assert own["static_to_match"] == pytest.approx(3000, rel=0.02)  # between sizes, it is linear in log n
    assert own["bound"] == "="
    assert own["ratio_low"] == pytest.approx(own["ratio"], rel=1e-3) == own["ratio_high"]
    for size in SIZES:
        assert [table[f"static-{size}"][key] for key in ("ratio", "ratio_low", "ratio_high")] == pytest.approx([1] * 3)
    largest = table["practice-4000"]
    assert (largest["bound"], largest["ratio"]) == (">", 2)
    assert (largest["ratio_low"], largest["ratio_high"]) == (2, np.inf)
    assert worth(runs(0))["ratio_high"].isna().any()  # seeds that agree tell nothing of their spread
    compute = worth(runs(0), "compute").to_dict("index")["practice-1000"]
    assert compute["static_to_match"] == pytest.approx(31_000, rel=0.03)
    assert compute["ratio"] == pytest.approx(31 / 11, rel=0.03)


def test_intervals_cover_the_truth_as_often_as_they_say():
    """95 % of 60 times, within three standard errors; the curve that counts is the interpolated one."""
    matched = worth(runs(0), "kept").to_dict("index")["practice-1000"]["ratio"]
    covered = 0
    for rng in range(60):
        table = runs(0.004, seeds=8, splits=4, rng=rng).query("arm not in ['practice-2000', 'practice-4000']")
        ratio = worth(table, "kept").to_dict("index")["practice-1000"]
        covered += ratio["ratio_low"] <= matched <= ratio["ratio_high"]
    assert covered / 60 > 0.866


@pytest.mark.parametrize("middle", [0.88, 0.918])
def test_a_size_that_is_no_better_than_a_smaller_one_is_not_of_the_curve(middle):
    """So an estimate lies in its interval."""
    draw = np.random.default_rng(0)
    means = {"static-1000": 0.9, "static-2000": 0.92, "static-4000": middle, "static-8000": 0.94, "practice": 0.93}
    accuracies = {arm: mean + draw.normal(0, 0.001, 8) for arm, mean in means.items()}
    own = worth(runs_of(accuracies, {"practice": 1000}), "kept").to_dict("index")
    practice = own["practice"]
    assert practice["ratio_low"] < practice["ratio"] < practice["ratio_high"]
    assert practice["ratio"] == pytest.approx(4, rel=0.1)  # half way from 2,000 to 8,000 in logarithms
    assert own["static-4000"]["ratio"] < 1


def test_seeds_that_tie_between_two_sizes_make_nothing_surer():
    table = worth(runs_of({"static-1000": [0.89, 0.92], "static-2000": [0.92, 0.893], "practice-3000": [0.9, 0.9]}))
    assert table.loc["practice-3000", ["ratio_low", "ratio_high"]].tolist() == [0, np.inf]


def test_one_seed_has_no_interval():
    alone = runs(0.004, seeds=1)
    assert worth(alone, "kept").loc[["practice-1000"], ["ratio_low", "ratio_high"]].isna().all(axis=None)


def test_an_interval_begins_at_the_smallest_static_size_that_is_not_surely_worse():
    """Also if a larger one dips below a smaller one, and so is not on the curve."""
    spread = np.array([-0.05, 0.0, 0.05])
    accuracies = {
        "static-1000": 0.80 + 1e-6 * spread,
        "static-4000": 0.79 + spread,
        "static-16000": 0.7 + 1e-6 * spread,
    }
    accuracies["practice-1000"] = np.full(3, 0.81)
    found = worth(runs_of(accuracies), "kept")
    assert found["ratio_low"].to_dict()["practice-1000"] == pytest.approx(4)


def test_seeds_of_a_split_are_one_unit():
    table = runs(0.004, seeds=8, splits=4)
    accuracy = by_unit(table, table["test_accuracy"])
    assert accuracy.shape == (4, 7)
    own = table.query("arm == 'static-1000' and split == 2")["test_accuracy"]
    assert len(own) == 2
    assert accuracy.loc[2, "static-1000"] == pytest.approx(own.mean())
    one = runs(0.004, seeds=3)
    assert len(by_unit(one, one["test_accuracy"])) == 3


def test_an_arm_is_held_against_static_data_of_its_own_settings():
    arms = {"static-500@training.crop=0.7": [0.85], "static-4000": [0.8], "practice-500@training.crop=0.7": [0.86]}
    table = runs_of(arms)
    own = worth(table, "kept").loc["practice-500@training.crop=0.7"]
    assert (own["static_series"], own["static_to_match"], own["bound"]) == ("static@training.crop=0.7", 500, ">")
    assert worth(table.assign(training_flops=0), "compute")["ratio"].isna().all()  # nobody counted them


def test_a_series_is_named_by_the_settings_that_not_all_arms_have():
    long, own = "training.steps=9", "guidance.omega=0.04"
    assert series_of([f"practice-4@{long}@{own}", f"practice-8@{long}", f"static@{long}"]) == {
        f"practice-4@{long}@{own}": f"practice@{own}",
        f"practice-8@{long}": "practice",
        f"static@{long}": "static",
    }
