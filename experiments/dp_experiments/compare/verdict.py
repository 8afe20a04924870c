"""What a comparison says in sentences: who is ahead of the strongest static arm, by how much, and how sure that is."""

import math
from typing import Any

import pandas as pd

from dp_experiments.compare.ratios import axis_of, by_unit, half_width
from dp_real.config.arms import ArmName

AT_CHANCE = 3  # standard errors above 1 / classes, within which an accuracy is one of guessing


def verdict(runs: pd.DataFrame, summary: pd.DataFrame, classes: int) -> list[str]:
    """The sentences that a reader of a comparison wants first, from runs.csv and the table of `summarize`.

    One for each arm that practises, against the best static arm; without such arms, for the arm that is ahead. Then one
    for an arm of another kind that is ahead of them. The last one names arms that only guess, if there are any, or says
    of runs with `quick` that they measure nothing.
    """
    test = 100 * by_unit(runs, runs["test_accuracy"])
    kinds = {arm: ArmName.parse(arm).arm for arm in map(str, test.columns)}
    static = [arm for arm, kind in kinds.items() if kind == "static"]
    practised = [arm for arm, kind in kinds.items() if kind == "practice"]
    best = str(test.mean().idxmax())
    rows = summary.set_index("series")
    if static and practised:
        strongest = test[static].mean().idxmax()
        sentences = [_against(test, arm, str(strongest), rows) for arm in practised]
        if kinds[best] not in ("static", "practice"):
            own = str(test[practised].mean().idxmax())
            drew = runs.loc[runs["arm"] == best, "samples_generated"].any()
            sentences.append(f"{_difference(test, best, own)}.{'' if drew else ' It generates nothing.'}")
    elif len(kinds) > 1:
        others = test.drop(columns=best).mean()
        sentences = [_difference(test, best, str(others.idxmax()), ", the second best arm") + "."]
    else:
        sentences = [f"{best}: {test[best].mean():.2f} % of the test set."]
    balanced = runs.get("test_balanced_accuracy", runs["test_accuracy"]).fillna(runs["test_accuracy"])
    accuracy, images = balanced.groupby(runs["arm"]).mean(), runs.groupby("arm")["test_examples"].sum()
    guessing = [arm for arm in kinds if guesses(accuracy[arm], images[arm], classes)]
    if "quick" in runs:
        sentences.append(str(runs["quick"].mode()[0]))
    elif guessing:
        sentences.append(f"{', '.join(guessing)}: {chance_remark(classes)}")
    return sentences


def chance_remark(classes: int) -> str:
    """What to say of a balanced accuracy that guessing would reach."""
    return (
        f"At chance, as far as its test examples tell: guessing has 1 in {classes} right, averaged over classes. "
        "Either training came to nothing, or the labels that it saw do not carry over to the real examples. Look at "
        "the pool (what can be seen or read: dp real review), at the order of the classes, then at the keys of "
        "[learner] and [training]."
    )


def _against(test: pd.DataFrame, arm: str, strongest: str, rows: pd.DataFrame) -> str:
    """An arm against the strongest static one, with what it is worth in static data."""
    sentence = f"{_difference(test, arm, strongest, ', the best static arm')}."
    if "ratio" not in rows:
        return sentence
    row: Any = rows.loc[arm]
    more = {">": " or more", "<": " or less"}.get(str(row["bound"]), "")
    low, high = row["ratio_low"], row["ratio_high"]
    interval = "" if math.isnan(low) else f" (95 % interval {two_digits(low)} to {two_digits(high)})"
    unit = {"compute": "FLOPs", "seconds": "seconds"}.get(axis_of(rows), "samples")
    number = row["static_to_match"]
    amount = f"{number:,.0f} {unit}{more}" if 100 <= number < 1e9 else f"{number:.3g} {unit}{more}"
    rival = row.get("static_series", "static data")
    times = f"{two_digits(row['ratio'])}{more} times what {arm} took"
    return f"{sentence} To match it, {rival} needs {amount}: {times}{interval}."


def _difference(test: pd.DataFrame, arm: str, rival: str, remark: str = "") -> str:
    pairs = test[[arm, rival]].dropna()
    difference = pairs[arm] - pairs[rival]
    units = len(difference)
    mean = float(difference.mean())
    points = f"{abs(mean):.2f}"
    way = "level with" if points == "0.00" else f"{points} points {'above' if mean > 0 else 'below'}"
    start = f"{arm} reached {pairs[arm].mean():.2f} %, {way} {rival}{remark}"
    if units == 1:
        return f"{start} (one seed: nothing is known of its spread)"
    reach = float(half_width(difference.to_numpy()))
    if math.isclose(reach, 0, abs_tol=1e-9):  # accuracies come in steps of an image, so a few may agree
        return f"{start} (in all {units} seeds or splits by exactly as much, so nothing is known of its spread)"
    sure = "" if abs(mean) > reach else ": which is better is not known"
    return f"{start} (95 % interval {mean - reach:+.2f} to {mean + reach:+.2f}, {units} seeds or splits){sure}"


def two_digits(ratio: float) -> str:
    """A ratio with two digits."""
    return "∞" if math.isinf(ratio) else f"{float(f'{ratio:.2g}'):g}"


def guesses(accuracy: float, images: float, classes: int) -> bool:
    """Whether an accuracy is no better than that of guessing, beyond what so many images would show by chance."""
    chance = 1 / classes
    return accuracy < chance + AT_CHANCE * (chance * (1 - chance) / images) ** 0.5
