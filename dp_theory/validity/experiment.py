"""The experiment on rows as they are: keep some by a rule, train on them, and count errors on others."""

import numpy as np

from dp_theory.ridge.simulators.dense import fit_ridge
from dp_theory.rules import Rule
from dp_theory.validity.view import View

MOST_USED = 0.75  # of the rows may be looked at: the others test, where no other rows do


def measured_errors(view: View, rule: Rule, sizes: np.ndarray, lam: float, trials: int, seed: int) -> np.ndarray:
    """Test errors (trials, sizes): rows in random order, the first that the rule keeps train. The view's test rows test
    or, where it has none, those not reached.

    All sizes of a trial share their order. nan where the rule does not keep as many among MOST_USED of the rows.
    """
    errors = np.full((trials, len(sizes)), np.nan)
    keep = np.asarray(rule.keep_probability(view.plane[0]), float)
    most = int(MOST_USED * len(keep))
    for trial in range(trials):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(trial,)))
        order = rng.permutation(len(keep))
        kept = np.flatnonzero(rng.random(most) < keep[order[:most]])
        for place, size in enumerate(sizes):
            if size <= len(kept):
                train, unseen = order[kept[:size]], order[kept[size - 1] + 1 :]
                w = fit_ridge(view.x[train], view.y[train], size * lam)
                x, y = (view.x[unseen], view.y[unseen]) if view.test is None else view.test
                errors[trial, place] = np.mean(y * (x @ w) <= 0)
    return errors
