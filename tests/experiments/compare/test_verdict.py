"""The sentences of a comparison: against the strongest static arm, how sure, and whether arms only guess."""

import numpy as np
import pytest
from dp_experiments.compare.compare import summarize
from dp_experiments.compare.verdict import guesses, verdict
from scipy import stats

from tests.experiments.compare.made import runs_of

SIZES = {"practice": 100, "static": 100, "static-400": 400, "practice-unguided": 100}


def said(accuracies, classes=10, **columns):
    runs = runs_of(accuracies, SIZES, **columns)
    return verdict(runs, summarize(runs, list(accuracies)[-1]), classes)


def test_practice_is_held_against_the_best_static_arm():
    practice, best = [0.93, 0.95, 0.94], [0.91, 0.93, 0.917]
    (sentence,) = said({"practice": practice, "static": [0.90, 0.90, 0.90], "static-400": best})
    assert sentence.startswith("practice reached 94.00 %, 2.10 points above static-400, the best static arm (95 % ")
    assert "which is better is not known" not in sentence
    assert "To match it, static data needs 400 samples or more: 4 or more times what practice took" in sentence


def test_of_one_seed_no_spread_is_known():
    (alone,) = said({"practice": [0.93], "static": [0.92]})
    assert "one seed: nothing is known of its spread" in alone


def test_the_static_series_that_an_arm_is_worth_is_named():
    sizes = SIZES | {"static@training.crop=0.5": 100}
    accuracies = {"practice": [0.92, 0.95], "static": [0.9, 0.91], "static@training.crop=0.5": [0.93, 0.97]}
    runs = runs_of(accuracies, sizes)
    (sentence,) = verdict(runs, summarize(runs, "static"), 10)
    assert "below static@training.crop=0.5, the best static arm" in sentence
    assert "To match it, static needs 100 samples or more" in sentence


@pytest.mark.parametrize("static", [[0.93, 0.93], [0.9299, 0.93005]])
def test_arms_that_are_as_good_are_called_level(static):
    """To what is printed; an error that no seed shows is said to be unknown, and not to need more seeds."""
    (sentence,) = said({"practice": [0.93, 0.93], "static": static})
    assert sentence.startswith("practice reached 93.00 %, level with static, the best static arm (")
    assert ("in all 2 seeds or splits by exactly as much" in sentence) == (static[0] == static[1])
    (at_the_end,) = said({"practice": [1.0] * 4, "static": [1.0] * 4})
    assert "100.00 %, level with static, the best static arm (in all 4 seeds" in at_the_end


def test_an_arm_that_is_ahead_of_practice_is_named_and_whether_it_generates():
    ahead = {"practice": [0.93, 0.95], "static": [0.9, 0.91], "covariance-100": [0.96, 0.97]}
    _, sentence = said(ahead)
    assert sentence.startswith("covariance-100 reached 96.50 %, 2.50 points above practice (95 % interval ")
    assert "generates nothing" not in sentence
    runs = runs_of(ahead | {"probe": [0.97, 0.98]}, SIZES | {"probe": 20})
    runs.loc[runs["arm"] == "probe", "samples_generated"] = 0
    *_, sentence = verdict(runs, summarize(runs, "static"), 10)
    assert sentence.startswith("probe reached 97.50 %, 3.50 points above practice (")
    assert sentence.endswith(" It generates nothing.")


def test_a_seed_that_an_arm_lacks_is_no_pair():
    runs = runs_of({"practice": [0.93, 0.95, 0.6], "static": [0.90, 0.91, 0.5]}, SIZES).drop(5)
    table = summarize(runs, "static").set_index("series")
    (sentence,) = verdict(runs, table.reset_index(), 10)
    low, high = stats.t.interval(0.95, 1, 3.5, stats.sem([3.0, 4.0]))
    assert sentence.startswith("practice reached 94.00 %, 3.50 points above static")
    assert f"(95 % interval {low:+.2f} to {high:+.2f}, 2 seeds or splits): which is better is not known" in sentence
    assert "To match it, static data needs 100 samples or more: 1 or more times" in sentence
    assert table[["n_seeds", "units"]].to_numpy().tolist() == [[3, 3], [2, 2]]
    assert table.loc["practice", ["ratio_low", "ratio_high"]].tolist() == [0, np.inf]


def test_a_large_worth_is_written_out():
    (sentence,) = said({"practice": [0.92, 0.95], "static-54321": [0.91, 0.93]})
    assert "needs 54,321 samples or more: 540 or more times what practice took" in sentence


@pytest.mark.parametrize(
    ("axis", "amount"), [("kept", "100 samples"), ("compute", "2e+12 FLOPs"), ("seconds", "2 seconds")]
)
def test_what_matches_an_arm_has_the_unit_of_the_axis(axis, amount):
    runs = runs_of({"practice": [0.92, 0.95], "static": [0.93, 0.97]}, SIZES)
    runs[["generation_flops", "training_flops"]] = 10**12
    (sentence,) = verdict(runs, summarize(runs, "static", axis), 10)
    assert f"To match it, static data needs {amount} or less" in sentence


def test_without_practice_the_best_is_held_against_the_next():
    (sentence,) = said({"static": [0.90, 0.91], "static-400": [0.93, 0.92]})
    assert sentence.startswith("static-400 reached 92.50 %, 2.00 points above static, the second best arm (")
    assert said({"static": [0.9]}) == ["static: 90.00 % of the test set."]


def test_arms_that_guess_are_named():
    *_, last = said({"practice": [0.11, 0.10, 0.11], "static": [0.5, 0.6, 0.5]})
    assert last.startswith("practice: At chance, as far as its test examples tell: guessing has 1 in 10 right")
    assert "the labels of the generated samples do not carry over" not in last  # of an arm that generates nothing, too
    *_, last = said({"practice": [0.9], "static": [0.9]}, test_balanced_accuracy=[0.1, 0.8])  # the largest class alone
    assert last.startswith("practice: At chance")
    sentences = said({"practice": [0.1], "static": [0.1]}, quick="a trial")
    assert sentences[1:] == ["a trial"]


@pytest.mark.parametrize(
    ("accuracy", "images", "expected"), [(0.11, 1000, True), (0.13, 1000, False), (0.13, 100, True)]
)
def test_chance_has_the_noise_of_so_many_images(accuracy, images, expected):
    assert guesses(accuracy, images, 10) is expected
