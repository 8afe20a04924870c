"""The experiment on rows as they are: keep some by a rule, train on them, and count errors on others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dp_theory.ridge.simulators.dense import fit_ridge
from dp_theory.rules import Rule
from dp_theory.validity.view import FeatureView

if TYPE_CHECKING:
    from jaxtyping import Float

MOST_USED = 0.75  # share of the rows that may train; the others test, where there are no test rows


def measured_errors(
    view: FeatureView, rule: Rule, sizes: Sequence[int], lam: float, trials: int, seed: int
) -> Float[np.ndarray, "trials sizes"]:
    """Test errors of ridge regression on the rows that a rule keeps, nan where it does not keep so many.

    A trial trains on the first kept rows of a random order, which all its sizes share. The view's test rows test; where
    it has none, those that were not looked at do.
    """
    errors = np.full((trials, len(sizes)), np.nan)
    keep = np.asarray(rule.keep_probability(view.plane[0]), float)
    most = int(MOST_USED * len(keep))
    for trial in range(trials):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(trial,)))
        order = rng.permutation(len(keep))
        kept = np.flatnonzero(rng.random(most) < keep[order[:most]])  # places in the order
        for i, size in enumerate(sizes):
            if size > len(kept):
                continue
            train = order[kept[:size]]
            w = fit_ridge(view.x[train], view.y[train], size * lam)
            if view.test is None:
                not_reached = order[kept[size - 1] + 1 :]
                x = view.x[not_reached]
                y = view.y[not_reached]
            else:
                x, y = view.test
            errors[trial, i] = np.mean(y * (x @ w) <= 0)
    return errors
